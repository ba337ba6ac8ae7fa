"""Contents: what a transform makes of leaves, as a stream of stored bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tiecli.boxes import BLOCK_NBYTES, split_boxes
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.digests import Digest
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
        yield from _stored_blocks(reader, canonicals[0], spec.nbytes)
        return
    from tiecli.compare.blockwise import LeafSource
    from tiecli.transforms.blocks import evaluate_block

    sources = [LeafSource(reader, path) for path in canonicals]
    for box in split_boxes(spec):
        yield evaluate_block(transform, sources, box).reshape(-1).view("uint8").data


def digest_blocks(blocks: Iterable[memoryview]) -> str:
    """Digests a stream: `xxh3_128:` and 32 hex digits."""
    digest = Digest()
    for block in blocks:
        digest.update(block)
    return str(digest)


def digest_leaf(reader: CheckpointReader, path: KeyPath) -> str:
    """Digests the stored bytes of a leaf: `xxh3_128:` and 32 hex digits."""
    return digest_blocks(_stored_blocks(reader, path, reader.specs()[path].nbytes))


def _stored_blocks(reader: CheckpointReader, path: KeyPath, nbytes: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(nbytes, BLOCK_NBYTES)))
    for offset in range(0, nbytes, BLOCK_NBYTES):
        block = buffer[: nbytes - offset]
        reader.read_into(path, offset, block)
        yield block
