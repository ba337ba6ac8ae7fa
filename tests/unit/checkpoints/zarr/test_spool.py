"""Spool: how often parts are decoded, and what is kept of them."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections import Counter
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.unit.checkpoints.zarr.zarrs import describe2, open_leaf, read, read_all, store
from tiecli.boxes import split_boxes
from tiecli.checkpoints.zarr import spool
from tiecli.checkpoints.zarr.chunks import ChunkedLeaf
from tiecli.checkpoints.zarr.decoding import Decoder, StoredPart
from tiecli.checkpoints.zarr.scratch import ScratchFile
from tiecli.checkpoints.zarr.spool import Spool
from tiecli.errors import ChunkError, WriteFailedError

RAW = random.Random(3).randbytes(40 * 30 * 4)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Makes every limit tiny; counts the bytes decoded of each chunk."""
    monkeypatch.setattr(spool, "HELD_NBYTES", 500)
    monkeypatch.setattr(spool, "_MEMORY_NBYTES", 6000)
    monkeypatch.setattr(spool, "_BUFFER_NBYTES", 64)
    monkeypatch.setattr(spool, "_STREAMS", 2)
    monkeypatch.setattr(spool, "_FILE_NBYTES", 2000)
    count: Counter[str] = Counter()

    class Counting(Decoder):
        def read_into(self, buffer: memoryview) -> None:
            super().read_into(buffer)
            count[self.label] += len(buffer)

    def decode_counting(part: StoredPart, label: str) -> bytes | bytearray:
        count[label] += part.nbytes
        buffer = bytearray(part.nbytes)
        Decoder(part, label).read_into(memoryview(buffer))
        return buffer

    monkeypatch.setattr(spool, "Decoder", Counting)
    monkeypatch.setattr(spool, "decode_part", decode_counting)
    return count


def make_leaf(chunks: list[int], **members: Any) -> ChunkedLeaf:
    """Opens a leaf of 40×30 numbers."""
    metadata = read(describe2([40, 30], chunks, **members))
    return open_leaf(metadata, store(metadata, RAW, 1000))


def read_forward(leaf: ChunkedLeaf, step: int = 333) -> bytes:
    """Reads a leaf from front to back."""
    buffer = bytearray(len(RAW))
    for start in range(0, len(RAW), step):
        leaf.read_into(start, memoryview(buffer)[start : start + step])
    return bytes(buffer)


def test_a_stream_needs_no_disk(decoded: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A large chunk that is read once, forward, is kept nowhere."""
    monkeypatch.setattr(spool, "ScratchFile", None)

    assert read_forward(make_leaf([40, 30])) == RAW
    assert decoded == {"w/0.0": len(RAW)}


def test_a_stream_that_is_read_again_goes_to_the_disk(decoded: Counter[str]) -> None:
    """Whoever comes back soon is expected to come once more."""
    leaf = make_leaf([40, 30])

    for _ in range(4):
        assert read_forward(leaf) == RAW
    assert decoded == {"w/0.0": 2 * len(RAW)}


def test_a_stream_that_is_read_backward_goes_to_the_disk(decoded: Counter[str]) -> None:
    """It is decoded once more, and never again."""
    leaf = make_leaf([40, 30])
    buffer = bytearray(100)
    for start in (1000, 300, 4000, 0):
        leaf.read_into(start, memoryview(buffer))
        assert buffer == RAW[start : start + 100]
    assert decoded == {"w/0.0": 1100 + len(RAW)}

    assert read_forward(leaf) == RAW
    assert decoded == {"w/0.0": 1100 + len(RAW)}


@pytest.mark.parametrize("chunks", [[40, 30], [20, 30], [40, 6], [8, 6], [2, 30]])
def test_transposed_leaves(chunks: list[int], decoded: Counter[str]) -> None:
    """Rows of a leaf that is stored by columns: no chunk is decoded twice."""
    leaf = make_leaf(chunks, order="F")

    for box in split_boxes(leaf.metadata.spec, 400):
        first = box[0][0] * 120 + box[1][0] * 4
        values = leaf.read_box(box).tobytes()
        assert values == RAW[first : first + len(values)]
    assert set(decoded.values()) == {4 * chunks[0] * chunks[1]}


def test_more_streams_than_there_may_be(decoded: Counter[str]) -> None:
    """Rows that cross many large chunks: what is let go in between is put aside when it is wanted again."""
    leaf = make_leaf([40, 6])

    assert read_forward(leaf, 240) == RAW
    assert len(decoded) == 5
    assert max(decoded.values()) < 2 * 40 * 6 * 4


def test_small_chunks_are_held(decoded: Counter[str]) -> None:
    """As many as there is room for; those that were let go and are wanted again go to the disk."""
    leaf = make_leaf([4, 10])

    for _ in range(4):
        assert read_forward(leaf) == RAW
    assert max(decoded.values()) <= 2 * 160


def test_pieces_of_a_stream(decoded: Counter[str]) -> None:
    """Samples of a large chunk cost one pass up to the last of them, and leave the stream where it was."""
    leaf = make_leaf([40, 30])
    pieces = [(8, 4), (400, 40), (1000, 8)]
    buffer = bytearray(2000)
    leaf.read_into(0, memoryview(buffer))

    assert leaf.read_pieces(pieces) == RAW[8:12] + RAW[400:440] + RAW[1000:1008]
    assert decoded == {"w/0.0": 2000 + 1008}
    leaf.read_into(2000, memoryview(buffer))
    assert buffer == RAW[2000:4000]
    assert decoded == {"w/0.0": 4000 + 1008}


def test_pieces_in_many_chunks(decoded: Counter[str]) -> None:
    """Each chunk is decoded once at most in a call, in whatever order the pieces come."""
    leaf = make_leaf([40, 10], order="F")
    starts = [4 * place for place in random.Random(1).sample(range(1200), 60)]

    assert leaf.read_pieces([(start, 4) for start in starts]) == b"".join(RAW[start : start + 4] for start in starts)
    assert max(decoded.values()) <= 40 * 10 * 4


def test_the_disk_is_bounded(decoded: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was put aside first is given up first, and decoded anew if need be."""
    monkeypatch.setattr(spool, "_DISK_NBYTES", 2500)
    leaf = make_leaf([40, 6], order="F")

    for _ in range(2):
        for box in split_boxes(leaf.metadata.spec, 120):
            leaf.read_box(box)
    assert sum(file.nbytes for file in leaf._spool._files) <= 2500
    assert read_all(leaf) == RAW
    assert max(decoded.values()) > 2 * 40 * 6 * 4


def test_threads(decoded: Counter[str]) -> None:
    """Two threads read what one would."""
    leaf = make_leaf([10, 15])
    wrong: list[int] = []

    def read_some(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(150):
            start = chance.randrange(len(RAW))
            buffer = bytearray(chance.randrange(1, 300))[: len(RAW) - start]
            leaf.read_into(start, memoryview(buffer))
            if buffer != RAW[start : start + len(buffer)]:
                wrong.append(start)

    threads = [Thread(target=read_some, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_stream_that_is_damaged_stays_so(decoded: Counter[str]) -> None:
    """Whoever tries again is refused again, and nothing is put aside."""
    metadata = read(describe2([40, 30], [40, 30]))
    (stored,) = store(metadata, RAW).values()
    leaf = open_leaf(metadata, {"0.0": stored[:-100]})
    buffer = bytearray(len(RAW))

    for _ in range(3):
        with pytest.raises(ChunkError):
            leaf.read_into(0, memoryview(buffer))
    assert leaf._spool._aside == {}


def test_close_lets_go_of_everything(decoded: Counter[str]) -> None:
    """Temporary files end with the spool."""
    before = len(os.listdir("/proc/self/fd"))
    leaf = make_leaf([10, 15], order="F")
    for _ in range(3):
        assert read_all(leaf) == RAW
    assert len(os.listdir("/proc/self/fd")) > before

    leaf._spool.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert read_all(leaf) == RAW


def test_scratch_files() -> None:
    """Bytes are read where they were written, and files leave nothing behind."""
    file = ScratchFile()

    assert [file.append(b"abc"), file.append(b""), file.append(memoryview(b"defg"))] == [0, 3, 3]
    assert b"".join(file.read_all()) == b"abcdefg"
    buffer = bytearray(4)
    file.read_into(memoryview(buffer), 2)
    assert buffer == b"cdef"


def test_a_disk_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The person is told which directory is too small."""
    file = ScratchFile()

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(WriteFailedError, match="no space left on device"):
        file.append(b"abc")
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(WriteFailedError, match="no space left on device"):
        ScratchFile()


@pytest.mark.parametrize(("stated", "used"), [("/tmp", "/var/tmp"), ("/mnt/large", "/mnt/large")])
def test_temporary_files_keep_off_memory(
    stated: str, used: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`/tmp` is kept in memory on many machines; any other TMPDIR is a person's choice."""
    places: list[str] = []
    make = tempfile.TemporaryFile

    def watch(**members: Any) -> Any:
        places.append(members["dir"])
        return make(buffering=0, dir=tmp_path)

    monkeypatch.setattr(tempfile, "TemporaryFile", watch)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: stated)
    monkeypatch.setattr(os, "access", lambda *_: True)
    ScratchFile()
    assert places == [used]


def test_spools_are_closed_more_than_once() -> None:
    """That does no harm."""
    kept = Spool()
    kept.close()
    kept.close()
