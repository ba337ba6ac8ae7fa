"""Copying: every way that the kernel offers, and falling back from one to the next."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tiecli.checkpoints import copying, system
from tiecli.checkpoints.copying import Output, reserve
from tiecli.errors import SourceChangedError

CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    """A file of five million bytes."""
    (tmp_path / "source").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "source", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """An empty file."""
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def refuse(number: int) -> Callable[..., int]:
    """A call that the system refuses."""

    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("ways", [0, 1, 2])
@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
@pytest.mark.parametrize(("start", "offset", "nbytes"), [(0, 0, len(CONTENT)), (13, 777, 3_000_000), (70_000, 5, 100)])
def test_ways_of_copying(
    source: int,
    target: int,
    monkeypatch: pytest.MonkeyPatch,
    ways: int,
    number: int,
    start: int,
    offset: int,
    nbytes: int,
) -> None:
    """Where a way does not work here, the next one does, from any place to any place."""
    for name in ("copy_file_range", "sendfile")[:ways]:
        monkeypatch.setattr(os, name, refuse(number))
    monkeypatch.setattr(copying, "_CHUNK", 1 << 20)
    seen: list[int] = []
    output = Output(target, sync=True, progress=seen.append, position=start)

    output.copy(source, offset, nbytes)

    assert os.pread(target, nbytes + 1, start) == CONTENT[offset : offset + nbytes]
    assert output.position == start + nbytes
    assert sum(seen) == nbytes


def test_kernel_that_copies_nothing(source: int, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that answers "nothing" where bytes are left is read and written instead."""
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    monkeypatch.setattr(os, "sendfile", lambda *_: 0)

    Output(target, sync=False, progress=lambda _: None).copy(source, 0, len(CONTENT))

    assert os.pread(target, len(CONTENT), 0) == CONTENT


def test_source_that_ends_early(source: int, target: int) -> None:
    """A source that is shorter than it was is noticed, however it is copied."""
    with pytest.raises(SourceChangedError, match=f"it ends at byte {len(CONTENT):,} now"):
        Output(target, sync=False, progress=lambda _: None).copy(source, 10, len(CONTENT))


def test_real_failures_are_not_hidden(source: int, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk is not taken for a way that does not work here."""
    monkeypatch.setattr(os, "copy_file_range", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        Output(target, sync=False, progress=lambda _: None).copy(source, 0, 100)
    monkeypatch.setattr(system, "allocate", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        reserve(target, 100)
    monkeypatch.setattr(system, "clone_range", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        Output(target, sync=False, progress=lambda _: None).share(source, 0, 8192)


def test_reserving(target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reserving nothing, or where nothing can be reserved, is no failure."""
    reserve(target, 0)
    monkeypatch.setattr(system, "allocate", refuse(errno.EOPNOTSUPP))
    reserve(target, 100)

    assert os.fstat(target).st_size == 0


@pytest.mark.parametrize(("start", "offset", "nbytes"), [(0, 0, 9000), (100, 4196, 50_000), (4095, 8191, 4097)])
def test_sharing(
    source: int, target: int, monkeypatch: pytest.MonkeyPatch, start: int, offset: int, nbytes: int
) -> None:
    """Whole blocks are shared, what is around them is copied."""
    shared: list[tuple[int, int, int]] = []

    def clone(source: int, source_offset: int, target: int, target_offset: int, nbytes: int) -> None:
        shared.append((source_offset, target_offset, nbytes))
        os.pwrite(target, os.pread(source, nbytes, source_offset), target_offset)

    monkeypatch.setattr(system, "clone_range", clone)
    seen: list[int] = []
    output = Output(target, sync=False, progress=seen.append, position=start)

    assert output.share(source, offset, nbytes)
    assert output.shares
    assert os.pread(target, nbytes + 1, start) == CONTENT[offset : offset + nbytes]
    assert output.position == start + nbytes
    assert seen == [nbytes]
    assert all(number % 4096 == 0 for span in shared for number in span)


def test_what_cannot_be_shared(source: int, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places that lie otherwise in their blocks, short runs, and file systems without sharing are left alone."""
    tried: list[object] = []

    def unsupported(*arguments: object) -> None:
        tried.append(arguments)
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(system, "clone_range", unsupported)
    output = Output(target, sync=False, progress=lambda _: None)

    assert not output.share(source, 1, 9000)
    assert not output.share(source, 0, 4095)
    assert tried == []
    assert not output.share(source, 0, 9000)
    assert output.shares is False
    assert not output.share(source, 0, 9000)
    assert len(tried) == 1
    assert output.position == 0


def test_calls_that_the_library_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without a call, it is refused as unsupported."""
    monkeypatch.setattr(system, "_libc", object())

    with pytest.raises(OSError, match="not implemented") as caught:
        system.rename_new(tmp_path / "a", tmp_path / "b")
    assert copying.is_unsupported(caught.value)
