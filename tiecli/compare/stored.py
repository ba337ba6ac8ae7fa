"""Stored bytes: whether two leaves are equal as they lie there, without decoding either."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.protocol import RAW, CheckpointReader, Progress, is_same_place
from tiecli.digests import Digest
from tiecli.keypaths import KeyPath

# Two of them stay in a core's second-level cache.
_CHUNK_NBYTES = 3 << 17


def equal_as_stored(
    reader: CheckpointReader,
    path: KeyPath,
    other_reader: CheckpointReader,
    other: KeyPath,
    progress: Progress,
    digest: Digest | None = None,
) -> bool:
    """Whether two leaves are known to be equal from their stored bytes alone.

    False says nothing: other stored bytes may decode to the same values.

    Args:
        reader: The checkpoint of the first leaf.
        path: The first leaf.
        other_reader: The checkpoint of the second.
        other: The second leaf, of the same spec.
        progress: Told the bytes of the leaf that need no more comparing, once they are known to be equal.
        digest: Takes the stored bytes in as they are read, in the way of `digest_stored`; of
            use where the leaves are equal.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    form, other_form = reader.stored_form(path), other_reader.stored_form(other)
    same_place = is_same_place(form, other_form)
    if not same_place and (
        form.encoding != other_form.encoding or form.encoding == RAW or form.lengths != other_form.lengths
    ):
        return False
    if not same_place or digest is not None:
        for block, part, offset in _walk(reader, path, digest):
            if not same_place and block != _read(other_reader, other, part, offset, len(block)):
                return False
    progress(reader.specs()[path].nbytes)
    return True


def digest_stored(reader: CheckpointReader, path: KeyPath) -> str:
    """Digests a leaf as it is stored, what its bytes mean included: `stored_xxh3_128:` and 32 hex digits."""
    digest = Digest(stored=True)
    for _ in _walk(reader, path, digest):
        pass
    return str(digest)


def _walk(reader: CheckpointReader, path: KeyPath, digest: Digest | None) -> Iterator[tuple[bytearray, int, int]]:
    """Yields the stored bytes of a leaf piece by piece, each with its part and where it begins there."""
    form = reader.stored_form(path)
    if digest is not None:
        digest.update(form.encoding.encode())
    for part, length in enumerate(form.lengths):
        if digest is not None:
            digest.update(length.to_bytes(8, "little"))
        for offset in range(0, length, _CHUNK_NBYTES):
            block = _read(reader, path, part, offset, min(_CHUNK_NBYTES, length - offset))
            if digest is not None:
                digest.update(block)
            yield block, part, offset


def _read(reader: CheckpointReader, path: KeyPath, part: int, offset: int, nbytes: int) -> bytearray:
    # Arrays of bytes are compared by the word, views of them one by one.
    block = bytearray(nbytes)
    reader.read_stored(path, part, offset, memoryview(block))
    return block
