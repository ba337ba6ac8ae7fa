"""Encoding: what new leaves look like when they are stored, and what storing them costs."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterator
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
    transpose,
)
from tiecli.boxes import split_boxes
from tiecli.checkpoints.zarr import encoding
from tiecli.checkpoints.zarr.arrays import make_array
from tiecli.checkpoints.zarr.encoding import encode_chunks
from tiecli.checkpoints.zarr.scratch import ScratchFile
from tiecli.errors import WriteFailedError
from tiecli.leaves import DTYPES, LeafSpec

ARRAY = np.arange(24, dtype="<f4").reshape(4, 6)
RAW = ARRAY.tobytes()


def test_plain_bytes_are_stored_as_they_are() -> None:
    """One chunk without a codec is the leaf itself."""
    metadata = make_array(LeafSpec((4, 6), DTYPES["F32"]), 2)

    assert store(metadata, RAW) == {"0.0": RAW}


def test_edges_are_filled_with_zeros() -> None:
    """Every chunk has its whole shape, wherever the leaf ends."""
    stored = store(read(describe2([4, 6], [3, 4], compressor=None)), RAW)
    corner = np.zeros((3, 4), "<f4")
    corner[:1, :2] = ARRAY[3:, 4:]

    assert {key: len(raw) for key, raw in stored.items()} == dict.fromkeys(["0.0", "0.1", "1.0", "1.1"], 48)
    assert stored["1.1"] == corner.tobytes()


def test_order() -> None:
    """Order F stores each chunk by columns."""
    stored = store(read(describe2([4, 6], [4, 3], compressor=None, order="F")), RAW)

    assert stored == {"0.0": ARRAY[:, :3].T.tobytes(), "0.1": ARRAY[:, 3:].T.tobytes()}


def test_frames_state_their_size() -> None:
    """Readers allocate by it; the level is the document's."""
    stored = store(read(describe2([4, 6], [4, 6], compressor={"id": "zstd", "level": 19})), RAW)["0.0"]
    checked = store(read(describe3([4, 6], [4, 6], [BYTES, {**ZSTD, "configuration": {"checksum": True}}])), RAW)

    assert zstandard.frame_content_size(stored) == 96
    assert not zstandard.get_frame_parameters(stored).has_checksum
    assert zstandard.get_frame_parameters(checked["c/0/0"]).has_checksum


@pytest.mark.parametrize(("name", "bits"), [("gzip", 31), ("zlib", 15)])
def test_deflated(name: str, bits: int) -> None:
    """Each has its own frame, which is the same at any time."""
    document = describe2([4, 6], [4, 6], compressor={"id": name, "level": 6})
    stored = store(read(document), RAW)

    assert zlib.decompress(stored["0.0"], bits) == RAW
    assert stored == store(read(document), RAW, 96)


@pytest.mark.parametrize("place", ["start", "end"])
def test_shards(place: str) -> None:
    """Parts stand in the order of the index, those outside of the leaf are left out."""
    metadata = read(describe3([3, 6], [4, 8], [shards([2, 4], [BYTES, CRC], [BYTES, CRC], place)]))
    raw = RAW[:72]
    stored = store(metadata, raw)["c/0/0"]
    metadata_of_more = read(describe3([3, 4], [4, 8], [shards([2, 4], [BYTES, CRC], [BYTES, CRC], place)]))
    fewer = store(metadata_of_more, ARRAY[:3, :4].tobytes())["c/0/0"]

    assert len(stored) == 4 * (32 + 4) + 4 * 16 + 4
    assert len(fewer) == 2 * (32 + 4) + 4 * 16 + 4
    assert read_all(open_leaf(metadata, {"c/0/0": stored})) == raw


def test_either_version_means_the_same_bytes() -> None:
    """Leaves of one encoding have equal stored bytes where they have equal values."""
    two = read(describe2([4, 6], [2, 4], order="F"))
    three = read(describe3([4, 6], [2, 4], [transpose(1, 0), BYTES, ZSTD]))

    assert two.encoding == three.encoding
    assert list(store(two, RAW).values()) == list(store(three, RAW).values())


DOCUMENTS = {
    "rows": describe2([40, 30], [16, 30]),
    "columns": describe2([40, 30], [16, 30], order="F"),
    "grid": describe3([40, 30], [16, 16], [shards([8, 4], [BYTES, ZSTD])]),
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
@pytest.mark.parametrize("step", [1, 1000, 4800])
def test_rows_on_the_disk(document: dict[str, Any], step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are too many to be held are put aside, and come out the same."""
    raw = np.random.default_rng(0).integers(0, 256, 4800, np.uint8).tobytes()
    metadata = read(document)
    held = store(metadata, raw)
    monkeypatch.setattr(encoding, "_HELD_NBYTES", 100)
    monkeypatch.setattr(encoding, "_BLOCK_NBYTES", 64)
    put_aside = []

    class Watched(ScratchFile):
        def __init__(self) -> None:
            super().__init__()
            put_aside.append(self)

    monkeypatch.setattr(encoding, "ScratchFile", Watched)

    assert read_all(open_leaf(metadata, store(metadata, raw, step))) == raw
    assert list(held) == list(metadata.chunk_keys())
    assert len(put_aside) == (0 if document is DOCUMENTS["rows"] else 3)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_chunks_may_be_passed_over(document: dict[str, Any]) -> None:
    """Whoever does not want a chunk gets the next ones all the same."""
    metadata = read(document)
    raw = bytes(range(160)) * 30
    wanted = store(metadata, raw)
    for number, (key, pieces) in enumerate(encode_chunks(metadata, [memoryview(raw)])):
        if number % 2:
            assert b"".join(pieces) == wanted[key]


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_values_that_end_early(document: dict[str, Any]) -> None:
    """Fewer values than the leaf has are a mistake of the caller."""
    with pytest.raises(ValueError, match="the values of a leaf end 1 bytes too early"):
        store(read(document), bytes(4799))


SIDE = 4096


@pytest.mark.parametrize(
    "document",
    [
        describe2([SIDE, SIDE], [SIDE, SIDE]),
        describe2([SIDE, SIDE], [SIDE, SIDE], order="F"),
        describe3([SIDE, SIDE], [SIDE, SIDE], [shards([1024, SIDE], [BYTES, ZSTD])]),
    ],
    ids=["rows", "columns", "shards"],
)
def test_memory_is_bounded(document: dict[str, Any]) -> None:
    """A leaf of 64 MiB is written and read within 40, whatever its chunks."""
    metadata = read(document)
    row = np.arange(SIDE, dtype="<f4")

    def rows() -> Iterator[memoryview]:
        for number in range(0, SIDE, 256):
            yield memoryview(np.add.outer(np.arange(number, number + 256, dtype="<f4"), row)).cast("B")

    tracemalloc.start()
    try:
        leaf = open_leaf(metadata, {key: b"".join(pieces) for key, pieces in encode_chunks(metadata, rows())})
        for box in split_boxes(metadata.spec, 4 << 20):
            block = leaf.read_box(box)
            assert (block[0] == row + box[0][0]).all()
        assert leaf.read_pieces([(4 * (SIDE * 7 + 5), 4)]) == np.float32(12).tobytes()
        leaf._spool.close()
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_the_values_are_read_to_their_very_end() -> None:
    """Whoever gives them may check them behind the last one; and there may not be more than the leaf has."""
    metadata = make_array(LeafSpec((4,), DTYPES["U8"]), 2)

    def checked() -> Iterator[memoryview]:
        yield memoryview(b"abcd")
        raise WriteFailedError("other bits than before", "Look again.")

    with pytest.raises(WriteFailedError, match="other bits"):
        {key: b"".join(pieces) for key, pieces in encode_chunks(metadata, checked())}
    with pytest.raises(ValueError, match="1 bytes more"):
        list(encode_chunks(metadata, [memoryview(b"abcde")]))
