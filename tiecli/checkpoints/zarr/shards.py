"""Shards: stored chunks that hold many parts, and the index that says where each is."""

from __future__ import annotations

from tiecli.checkpoints.zarr.codecs import ABSENT, ENTRY, Sharding
from tiecli.checkpoints.zarr.decoding import AGAIN, StoredBytes, StoredChunk, spoilt
from tiecli.errors import MissingChunkError


def read_index(chunk: StoredChunk, sharding: Sharding, entries: int, label: str) -> bytes:
    """Reads the index of a shard, its checksum included.

    Args:
        chunk: The shard.
        sharding: How it is made.
        entries: How many parts it has.
        label: What errors call it.

    Raises:
        ChunkError: It is damaged.
        SourceChangedError: The file is shorter than it was when opened.
        UnreadableFileError: The system refused the read.
    """
    nbytes = entries * ENTRY.size
    size = nbytes + 4 * sharding.index_checked
    if size > chunk.nbytes:
        raise spoilt(label, f"{chunk.nbytes:,} bytes, fewer than the {size:,} of its index")
    raw = StoredBytes(chunk, label).read(size, 0 if sharding.index_first else chunk.nbytes - size)
    if sharding.index_checked:
        import google_crc32c

        if google_crc32c.value(raw[:nbytes]) != int.from_bytes(raw[nbytes:], "little"):
            raise spoilt(label, "the CRC-32C of its index does not match")
    return raw


def cut_part(chunk: StoredChunk, sharding: Sharding, index: bytes, entry: int, label: str) -> StoredChunk:
    """Gives one part of a shard.

    Args:
        chunk: The shard.
        sharding: How it is made.
        index: Its index.
        entry: Which part, by its place in the index.
        label: What errors call the shard.

    Raises:
        MissingChunkError: The part is not stored.
        ChunkError: The index says it is where it cannot be.
    """
    offset, nbytes = ENTRY.unpack_from(index, entry * ENTRY.size)
    if offset == nbytes == ABSENT:
        raise MissingChunkError(f"part {entry} of the shard `{label}` is not stored", AGAIN)
    first, last = (len(index), chunk.nbytes) if sharding.index_first else (0, chunk.nbytes - len(index))
    if not first <= offset <= offset + nbytes <= last:
        raise spoilt(label, f"its part {entry} reaches from byte {offset:,} to {offset + nbytes:,} of {last:,}")
    return chunk.cut(offset, nbytes)
