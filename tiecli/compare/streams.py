"""Contents: what a transform makes of leaves, as a stream of stored bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tiecli.boxes import BLOCK_NBYTES, split_boxes
from tiecli.checkpoints.protocol import RAW, CheckpointReader
from tiecli.compare.stored import digest_stored
from tiecli.digests import Digest, is_of_stored
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms import Transform


def transformed_blocks(
    reader: CheckpointReader, canonicals: tuple[KeyPath, ...], transform: Transform, spec: LeafSpec
) -> Iterator[memoryview]:
    """Yields the bytes of a transformed leaf in C order, a few MiB at a time.

    Args:
        reader: The checkpoint that holds the canonical leaves.
        canonicals: The leaves that the transform takes.
        transform: What is made of them.
        spec: Shape and dtype of what is made.
    """
    if transform.is_same:
        yield from _value_blocks(reader, canonicals[0], spec.nbytes)
        return
    from numpy import ascontiguousarray

    from tiecli.compare.blockwise import LeafSource
    from tiecli.transforms.blocks import evaluate_block

    sources = [LeafSource(reader, path) for path in canonicals]
    for box in split_boxes(spec):
        # A vector that is flipped is a view whose elements run backwards.
        yield ascontiguousarray(evaluate_block(transform, sources, box)).reshape(-1).view("uint8").data


def digest_blocks(blocks: Iterable[memoryview]) -> str:
    """Digests a stream: `xxh3_128:` and 32 hex digits."""
    digest = Digest()
    for block in blocks:
        digest.update(block)
    return str(digest)


def digest_leaf(reader: CheckpointReader, path: KeyPath) -> str:
    """Digests a leaf without decoding it: its values where they are stored plainly, else its stored bytes."""
    if reader.stored_form(path).encoding == RAW:
        return digest_values(reader, path)
    return digest_stored(reader, path)


def digest_values(reader: CheckpointReader, path: KeyPath) -> str:
    """Digests the values of a leaf in C order, decoded if need be: `xxh3_128:` and 32 hex digits."""
    return digest_blocks(_value_blocks(reader, path, reader.specs()[path].nbytes))


def has_digest(reader: CheckpointReader, path: KeyPath, recorded: str) -> bool:
    """Whether a leaf still is what a recorded digest says, be it of its values or of its stored bytes.

    Raises:
        ChunkError: It is not, and does not even decode.
    """
    if not is_of_stored(recorded):
        return digest_values(reader, path) == recorded
    if digest_stored(reader, path) == recorded:
        return True
    # Other bytes may be new values, or damage; only those that decode are values.
    digest_values(reader, path)
    return False


def _value_blocks(reader: CheckpointReader, path: KeyPath, nbytes: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(nbytes, BLOCK_NBYTES)))
    for offset in range(0, nbytes, BLOCK_NBYTES):
        block = buffer[: nbytes - offset]
        reader.read_into(path, offset, block)
        yield block
