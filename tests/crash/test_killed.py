"""A run killed at any step leaves the target absent or whole, and the source untouched.

A child process counts its calls to the system and kills itself before the n-th, for every
n until it gets through.
"""

from __future__ import annotations

import fcntl
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.sources import MAKERS, remove, stages_in, tie_all, visible
from tests.unit.checkpoints.safetensors.surgery import take_stock, untie
from tiecli.checkpoints import system

# Everything by which a run can change what is on the disk, or tell others that it is alive.
Calls = tuple[tuple[Any, tuple[str, ...]], ...]
CALLS: Calls = (
    (os, ("open", "close", "pwrite", "copy_file_range", "fsync", "link", "unlink", "mkdir", "rmdir", "chmod")),
    (os, ("rename", "replace", "symlink", "sendfile")),
    (fcntl, ("flock", "ioctl")),
    (system, ("rename_new", "exchange", "allocate", "start_writeback")),
)


def run_and_kill(act: Callable[[], object], step: int, calls: Calls = CALLS) -> bool:
    """Runs in a child that is killed before its call number `step`; tells whether it got through."""
    with warnings.catch_warnings():
        # Forking a process with threads is fine here: the child touches none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        for module, names in calls:
            for name in names:
                setattr(module, name, counted(getattr(module, name)))
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


@pytest.mark.parametrize("make", MAKERS)
def test_new_target(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """A new target is absent or whole at every step, and the next run completes and clears up."""
    source, target = make(tmp_path), tmp_path / "out"
    before = take_stock(source)
    tie_all(source, target)
    expected, step, published = take_stock(target), 0, 0
    remove(target)

    while True:
        step += 1
        through = run_and_kill(lambda: tie_all(source, target), step)
        assert take_stock(source) == before
        if os.path.lexists(target):
            published += 1
            assert take_stock(target) == expected
            remove(target)
        if through:
            break
        if step % 5 == 0:
            tie_all(source, target)
            assert take_stock(target) == expected
            assert stages_in(tmp_path) == []
            remove(target)
    assert step > 15
    # It is published before the last steps, and killed before that at all the others.
    assert 1 < published < step


@pytest.mark.parametrize("make", MAKERS)
def test_in_place(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """In place, all of the old or all of the new is there at every step, and the next run clears up."""
    source = make(tmp_path)
    before = take_stock(source)
    tie_all(source, source)
    expected, step, seen = take_stock(source), 0, set()
    untie(source, source)

    while True:
        step += 1
        through = run_and_kill(lambda: tie_all(source, source), step)
        stock = visible(source)
        assert stock in (before, expected)
        seen.add(stock == expected)
        if stock == before:
            tie_all(source, source)
        assert take_stock(source) == expected
        untie(source, source)
        assert take_stock(source) == before
        assert stages_in(tmp_path) == []
        if through:
            break
    assert step > 15
    assert seen == {False, True}
