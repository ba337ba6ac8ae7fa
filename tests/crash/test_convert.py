"""A conversion that does not get through leaves the target absent or whole, no stage, and the source as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.sources import make_file, make_sharded, remove, stages_in
from tests.crash.test_failing import run_and_fail
from tests.crash.test_killed import run_and_kill
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints.protocol import Target
from tiecli.verbs.convert import convert


def make_item(directory: Path) -> Path:
    """An Orbax item, uncompressed."""
    convert(make_file(directory), Target(directory / "item", sync=False))
    return directory / "item"


def make_compressed(directory: Path) -> Path:
    """An Orbax item whose leaves have to be decoded."""
    convert(make_file(directory), Target(directory / "item", sync=False), zarr=3, compress=True)
    return directory / "item"


def convert_one(source: Path, target: Path) -> None:
    """The run that does not get through, to an item or to one file."""
    convert(source, Target(target))


def convert_to_shards(source: Path, target: Path) -> None:
    """The run that does not get through, to several files."""
    convert(source, Target(target), shard_nbytes=70_000)


CASES = [
    (make_file, "out", convert_one),
    (make_sharded, "out", convert_one),
    (make_item, "out.safetensors", convert_one),
    (make_compressed, "out", convert_to_shards),
]
NAMES = ["file to item", "shards to item", "item to file", "compressed item to shards"]
Make, Act = Callable[[Path], Path], Callable[[Path, Path], None]


@pytest.mark.parametrize(("make", "name", "act"), CASES, ids=NAMES)
def test_killed_at_any_step(tmp_path: Path, make: Make, name: str, act: Act) -> None:
    """The target is absent or whole, and the next run completes and clears up."""
    source, target = make(tmp_path), tmp_path / name
    before = take_stock(source)
    act(source, target)
    expected, step, published = take_stock(target), 0, 0
    remove(target)

    through = False
    while not through:
        step += 1
        through = run_and_kill(lambda: act(source, target), step)
        assert take_stock(source) == before
        if os.path.lexists(target):
            published += 1
            assert take_stock(target) == expected
            remove(target)
        elif step % 5 == 0:
            act(source, target)
            assert take_stock(target) == expected
            assert stages_in(tmp_path) == []
            remove(target)
    assert 1 < published < step
    assert step > 15


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(("make", "name", "act"), CASES, ids=NAMES)
def test_failed_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make, name: str, act: Act, number: int
) -> None:
    """A disk that is full or broken is told, and nothing is left behind."""
    source, target = make(tmp_path), tmp_path / name
    before = take_stock(source)
    act(source, target)
    expected, step, refused, met = take_stock(target), 0, 0, True

    while met:
        if os.path.lexists(target):
            assert take_stock(target) == expected
            remove(target)
        step += 1
        done, met = run_and_fail(monkeypatch, lambda: act(source, target), step, number)
        refused += not done
        assert os.path.lexists(target) or not done
        assert take_stock(source) == before
        assert stages_in(tmp_path) == []
    assert refused > 15
