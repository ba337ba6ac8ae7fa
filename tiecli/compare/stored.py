"""Stored bytes: whether two leaves are equal as they lie there, without decoding either."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.boxes import BLOCK_NBYTES
from tiecli.checkpoints.protocol import RAW, CheckpointReader, Progress, is_same_place
from tiecli.digests import Digest
from tiecli.keypaths import KeyPath

_CHUNK_NBYTES = 1 << 20


def equal_as_stored(
    reader: CheckpointReader, path: KeyPath, other_reader: CheckpointReader, other: KeyPath, progress: Progress
) -> bool:
    """Whether two leaves are known to be equal from their stored bytes alone.

    False says nothing: other stored bytes may decode to the same values.

    Args:
        reader: The checkpoint of the first leaf.
        path: The first leaf.
        other_reader: The checkpoint of the second.
        other: The second leaf, of the same spec.
        progress: Told the bytes of the leaf that need no more comparing, once they are known to be equal.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    form, other_form = reader.stored_form(path), other_reader.stored_form(other)
    equal = is_same_place(form, other_form) or (
        form.encoding == other_form.encoding != RAW
        and form.lengths == other_form.lengths
        and all(
            left == right
            for part, length in enumerate(form.lengths)
            for left, right in zip(
                _part_blocks(reader, path, part, length, _CHUNK_NBYTES),
                _part_blocks(other_reader, other, part, length, _CHUNK_NBYTES),
                strict=True,
            )
        )
    )
    if equal:
        progress(reader.specs()[path].nbytes)
    return equal


def digest_stored(reader: CheckpointReader, path: KeyPath) -> str:
    """Digests a leaf as it is stored, what its bytes mean included: `stored_xxh3_128:` and 32 hex digits."""
    form = reader.stored_form(path)
    digest = Digest(stored=True)
    digest.update(form.encoding.encode())
    for part, length in enumerate(form.lengths):
        digest.update(length.to_bytes(8, "little"))
        for block in _part_blocks(reader, path, part, length, BLOCK_NBYTES):
            digest.update(block)
    return str(digest)


def _part_blocks(reader: CheckpointReader, path: KeyPath, part: int, length: int, nbytes: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(length, nbytes)))
    for offset in range(0, length, nbytes):
        block = buffer[: length - offset]
        reader.read_stored(path, part, offset, block)
        yield block
