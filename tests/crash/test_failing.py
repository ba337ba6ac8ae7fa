"""A run that the system fails at any step refuses, leaves no stage, and leaves the source as it was."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.sources import MAKERS, remove, stages_in, tie_all
from tests.unit.checkpoints.safetensors.surgery import take_stock, untie
from tiecli.checkpoints import system
from tiecli.errors import TiecliError

CALLS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (os, ("open", "pread", "preadv", "pwrite", "copy_file_range", "fsync", "link", "mkdir", "rename", "replace")),
    (os, ("stat", "lstat", "fstat", "scandir", "listdir")),
    (fcntl, ("flock", "ioctl")),
    (system, ("rename_new", "exchange", "allocate")),
)


def fail_at(patch: pytest.MonkeyPatch, step: int, number: int) -> Callable[[], int]:
    """Makes call number `step` fail, and no other; returns what counts them."""
    count = 0

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    for module, names in CALLS:
        for name in names:
            patch.setattr(module, name, failing(getattr(module, name)))
    return lambda: count


def run_and_fail(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], step: int, number: int
) -> tuple[bool, bool]:
    """Runs with one failing call; tells whether the run succeeded, and whether it met that call."""
    with monkeypatch.context() as patch:
        count = fail_at(patch, step, number)
        try:
            act()
        except TiecliError:
            return False, True
        return True, count() >= step


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("make", MAKERS)
def test_new_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], number: int) -> None:
    """A new target is absent, or whole where only its last sync failed."""
    source, target = make(tmp_path), tmp_path / "out"
    before = take_stock(source)
    tie_all(source, target)
    expected, step, refused, met = take_stock(target), 0, 0, True

    while met:
        if os.path.lexists(target):
            assert take_stock(target) == expected
            remove(target)
        step += 1
        done, met = run_and_fail(monkeypatch, lambda: tie_all(source, target), step, number)
        refused += not done
        assert os.path.lexists(target) or not done
        assert take_stock(source) == before
        assert stages_in(tmp_path) == []
    assert refused > 15


@pytest.mark.parametrize("make", MAKERS)
def test_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]) -> None:
    """In place, a run that fails leaves all of the old, or all of the new where only its last sync failed."""
    source = make(tmp_path)
    before = take_stock(source)
    tie_all(source, source)
    expected, step, refused, met = take_stock(source), 0, 0, True
    untie(source, source)

    while met:
        step += 1
        done, met = run_and_fail(monkeypatch, lambda: tie_all(source, source), step, errno.EIO)
        refused += not done
        stock = take_stock(source)
        assert stock == expected or (stock == before and not done)
        assert stages_in(tmp_path) == []
        if stock == expected:
            untie(source, source)
        assert take_stock(source) == before
    assert refused > 15
