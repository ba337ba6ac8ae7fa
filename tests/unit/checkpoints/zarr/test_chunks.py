"""Chunks: what is refused of stored bytes, and what reading a leaf costs."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from tests.unit.checkpoints.zarr.zarrs import (
    BYTES,
    CRC,
    ZSTD,
    describe2,
    describe3,
    open_leaf,
    read,
    read_all,
    shards,
    store,
)
from tiecli.checkpoints.zarr import decoding
from tiecli.checkpoints.zarr.chunks import ChunkedLeaf, StoredChunk
from tiecli.checkpoints.zarr.spool import Spool
from tiecli.errors import ChunkError, MissingChunkError, SourceChangedError, TiecliError, UnreadableFileError

RAW = np.arange(24, dtype="<f4").tobytes()
ZSTD2 = read(describe2([4, 6], [4, 6]))
FRAME = zstandard.ZstdCompressor().compress(RAW)
UNSIZED = zstandard.ZstdCompressor(write_content_size=False)
LONG = zstandard.ZstdCompressor().compress(RAW + b"\0")


def read_one(document: dict[str, Any], raw: bytes) -> bytes:
    """Reads a leaf whose only chunk is stored so."""
    metadata = read(document)
    return read_all(open_leaf(metadata, dict.fromkeys(metadata.chunk_keys(), raw)))


def flip(raw: bytes, at: int) -> bytes:
    """Changes one bit."""
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def compressed(name: str) -> dict[str, Any]:
    """A leaf of one chunk under some compressor of zarr 2."""
    return describe2([4, 6], [4, 6], compressor={"id": name, "level": 1} if name else None)


CHECKED = describe3([4, 6], [4, 6], [BYTES, CRC])
SHARDED = describe3([4, 6], [4, 6], [shards([4, 6], [BYTES])])
SHARD = store(read(SHARDED), RAW)["c/0/0"]

REFUSED: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "nothing": (compressed("zstd"), b"", "error when determining content size"),
    "no frame": (compressed("zstd"), RAW, "error when determining content size"),
    "a frame cut short": (compressed("zstd"), FRAME[:-1], "decompression error"),
    "an unsized frame cut short": (compressed("zstd"), UNSIZED.compress(RAW)[:-1], "decompression error"),
    "too many values": (compressed("zstd"), LONG, "it has 97 bytes, expected 96"),
    "too many unsized values": (compressed("zstd"), UNSIZED.compress(RAW * 2), "decompression error"),
    "too few values": (compressed("zstd"), zstandard.compress(RAW[1:]), "it has 95 bytes, expected 96"),
    "too few unsized values": (compressed("zstd"), UNSIZED.compress(RAW[1:]), "it has 95 bytes, expected 96"),
    "an absurd size": (compressed("zstd"), b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x3f", "bytes, expected 96"),
    "a gzip cut short": (compressed("gzip"), gzip.compress(RAW)[:-1], "it is cut short"),
    "a gzip flipped": (compressed("gzip"), flip(gzip.compress(RAW), -8), "incorrect data check"),
    "a gzip with more behind": (compressed("gzip"), gzip.compress(RAW) + b"x", "bytes follow its end"),
    "too many in a gzip": (compressed("gzip"), gzip.compress(RAW + b"x"), "more than the expected 96 bytes"),
    "zlib in place of gzip": (compressed("gzip"), zlib.compress(RAW), "incorrect header check"),
    "gzip in place of zlib": (compressed("zlib"), gzip.compress(RAW), "incorrect header check"),
    "plain bytes too few": (compressed(""), RAW[1:], "95 bytes, expected 96"),
    "plain bytes too many": (compressed(""), RAW + b"x", "97 bytes, expected 96"),
    "a checksum": (CHECKED, flip(store(read(CHECKED), RAW)["c/0/0"], 5), "its CRC-32C does not match"),
    "a checksum alone": (CHECKED, b"1234", "it has 0 bytes, expected 96"),
    "less than a checksum": (CHECKED, b"12", "it has 0 bytes, expected 96"),
    "a shard without index": (SHARDED, RAW[:19], "19 bytes, fewer than the 20 of its index"),
    "the index of a shard": (SHARDED, flip(SHARD, -5), "the CRC-32C of its index does not match"),
    "a shard cut in front": (SHARDED, SHARD[1:], "its part 0 reaches from byte 0 to 96 of 95"),
    "a part of another size": (SHARDED, SHARD.replace(b"\x60" + b"\0" * 7, b"\x5f" + b"\0" * 7), "does not match"),
}


@pytest.mark.parametrize(("document", "raw", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_damaged_chunks(document: dict[str, Any], raw: bytes, message: str) -> None:
    """Stored bytes that do not decode to just the values are refused, and the chunk is named."""
    with pytest.raises(ChunkError) as caught:
        read_one(document, raw)

    assert caught.value.message.startswith("the stored bytes of `w/")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("document", "smaller"),
    [
        (compressed("zstd"), describe2([3, 6], [3, 6])),
        (compressed("gzip"), describe2([3, 6], [3, 6], compressor={"id": "gzip", "level": 1})),
        (CHECKED, describe3([3, 6], [3, 6], [BYTES, CRC])),
    ],
)
def test_streams_refuse_as_well(
    document: dict[str, Any], smaller: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is decoded piece by piece is checked to its end, too."""
    monkeypatch.setattr(decoding, "_SMALL_NBYTES", 0)
    metadata = read(document)
    (stored,) = store(metadata, RAW).values()
    (fewer,) = store(read(smaller), RAW[:72]).values()

    assert read_one(document, stored) == RAW
    for spoilt in (stored[:-6], fewer, b""):
        with pytest.raises(ChunkError):
            read_one(document, spoilt)
    if metadata.layout.codecs[0].name == "zstd":
        for spoilt in (LONG, stored + b"x", flip(stored, 2)):
            with pytest.raises(ChunkError):
                read_one(document, spoilt)


def test_parts_that_are_not_there() -> None:
    """A part that was left out of a shard has no values to read; others have."""
    document = describe3([4, 4], [4, 4], [shards([2, 4], [BYTES], [BYTES])])
    metadata = read(document)
    stored = bytearray(store(metadata, bytes(range(64)))["c/0/0"])
    stored[-16:] = b"\xff" * 16
    leaf = open_leaf(metadata, {"c/0/0": bytes(stored)})

    assert leaf.read_box(((0, 2), (0, 4))).tobytes() == bytes(range(32))
    with pytest.raises(MissingChunkError, match="part 1 of the shard `w/c/0/0` is not stored"):
        read_all(leaf)


def test_wrong_number_of_chunks() -> None:
    """Whoever opens a leaf has to know where all of it is."""
    with pytest.raises(ValueError, match="2 chunks for `w`, which has 1"):
        ChunkedLeaf(ZSTD2, [StoredChunk(-1, 0, 0)] * 2, "w", Spool())


@pytest.mark.parametrize("box", [(), ((0, 4),), ((0, 5), (0, 6)), ((2, 1), (0, 6)), ((-1, 2), (0, 6))])
def test_boxes_that_are_none(box: Any) -> None:
    """A box outside of the leaf is a mistake of the caller."""
    with pytest.raises(ValueError, match="is no box of `w`"):
        open_leaf(ZSTD2, store(ZSTD2, RAW)).read_box(box)


@pytest.mark.parametrize(("offset", "nbytes"), [(-1, 2), (90, 7), (97, 0)])
def test_runs_that_are_none(offset: int, nbytes: int) -> None:
    """So is a run of bytes."""
    with pytest.raises(ValueError, match="which has 96"):
        open_leaf(ZSTD2, store(ZSTD2, RAW)).read_into(offset, memoryview(bytearray(nbytes)))


def put_in_file(path: Path, stored: Mapping[str, bytes]) -> list[StoredChunk]:
    """Writes chunks one after another into a file, and opens it."""
    path.write_bytes(b"".join(stored.values()))
    descriptor = os.open(path, os.O_RDONLY)
    chunks, offset = [], 0
    for raw in stored.values():
        chunks.append(StoredChunk(descriptor, offset, len(raw)))
        offset += len(raw)
    return chunks


@pytest.mark.parametrize("document", [compressed(""), compressed("zstd"), compressed("gzip"), CHECKED, SHARDED])
def test_files_that_change(document: dict[str, Any], tmp_path: Path) -> None:
    """A file that became shorter or cannot be read is told as such."""
    metadata = read(document)
    chunks = put_in_file(tmp_path / "data", store(metadata, RAW))
    leaf = ChunkedLeaf(metadata, chunks, "w", Spool())
    assert read_all(leaf) == RAW

    os.truncate(tmp_path / "data", 3)
    with pytest.raises(SourceChangedError, match=r"`w/.*` changed while it was read: .* became shorter"):
        read_all(ChunkedLeaf(metadata, chunks, "w", Spool()))
    os.close(chunks[0].descriptor)
    with pytest.raises(UnreadableFileError, match=r"`w/.*` cannot be read"):
        read_all(ChunkedLeaf(metadata, chunks, "w", Spool()))


@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_chunks_are_read_in_place(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their order, nothing is decoded or put aside."""
    array = np.arange(24, dtype="<f4").reshape(4, 6)
    metadata = read(describe2([4, 6], [3, 4], compressor=None, order=order))
    leaf = open_leaf(metadata, store(metadata, RAW))
    monkeypatch.setattr(Spool, "open", None)
    monkeypatch.setattr(Spool, "pick", None)

    assert read_all(leaf) == RAW
    assert leaf.read_box(((1, 4), (3, 5))).tolist() == array[1:4, 3:5].tolist()
    assert leaf.read_pieces([(8, 8), (40, 4)]) == RAW[8:16] + RAW[40:44]


def test_chunks_that_are_not_wanted_are_not_decoded() -> None:
    """A box or a piece asks for the chunks that hold it, and no more."""
    metadata = read(describe2([4, 6], [2, 3]))
    stored = {**store(metadata, RAW), "0.1": b"spoilt", "1.1": b"spoilt"}
    leaf = open_leaf(metadata, stored)

    assert leaf.read_box(((0, 4), (1, 3))).tolist() == np.arange(24).reshape(4, 6)[:, 1:3].tolist()
    assert leaf.read_pieces([(0, 8), (24, 4)]) == RAW[:8] + RAW[24:28]
    with pytest.raises(ChunkError, match=r"`w/0\.1`"):
        leaf.read_box(((0, 1), (2, 4)))


@pytest.mark.parametrize("document", [describe2([], []), describe3([], [], [BYTES, ZSTD])])
def test_scalars(document: dict[str, Any]) -> None:
    """A scalar is one chunk of one element."""
    metadata = read(document)
    leaf = open_leaf(metadata, store(metadata, RAW[4:8]))

    assert leaf.read_box(()).shape == ()
    assert leaf.read_box(()) == 1.0
    assert leaf.read_pieces([(0, 4)]) == RAW[4:8]


def test_empty_leaves() -> None:
    """A leaf without elements has no chunks, and nothing to read."""
    metadata = read(describe2([0, 6], [1, 6]))
    leaf = open_leaf(metadata, {})

    assert leaf.read_box(((0, 0), (2, 5))).shape == (0, 3)
    assert read_all(leaf) == b""
    assert store(metadata, b"") == {}


def test_every_refusal_is_ours() -> None:
    """Nothing of zstandard or zlib gets out."""
    assert issubclass(ChunkError, TiecliError)
    with pytest.raises(ChunkError) as caught:
        read_one(compressed("zstd"), b"x")
    assert "\n" not in caught.value.message
