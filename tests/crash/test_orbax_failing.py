"""A run on an Orbax checkpoint that the system fails at any step refuses, leaves no stage, and changes nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.crash.orbax_sources import IN_PLACE, NEW, Case, read_leaves, restore
from tests.crash.sources import remove, stages_in
from tests.crash.test_failing import run_and_fail
from tests.unit.checkpoints.safetensors.surgery import take_stock

pytestmark = pytest.mark.usefixtures("no_disk")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("case", NEW, ids=str)
def test_new_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case, number: int) -> None:
    """A new target is absent, or whole where only its last sync failed."""
    source, target = case.make(tmp_path), tmp_path / "out"
    before = take_stock(source)
    case.do(source, target)
    expected, leaves, step, refused, met = take_stock(target), read_leaves(target), 0, 0, True

    while met:
        if os.path.lexists(target):
            assert take_stock(target) == expected
            assert read_leaves(target) == leaves
            remove(target)
        step += 1
        done, met = run_and_fail(monkeypatch, lambda: case.do(source, target), step, number)
        refused += not done
        assert os.path.lexists(target) or not done
        assert take_stock(source) == before
        assert stages_in(tmp_path) == []
    assert refused > 15


@pytest.mark.parametrize("case", IN_PLACE, ids=str)
def test_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """In place, a run that fails leaves all of the old, or all of the new where only its last sync failed."""
    base, work, step, refused, met = tmp_path / "base", tmp_path / "work", 0, 0, True
    base.mkdir()
    place = case.make(base).relative_to(base)
    before, leaves = take_stock(base), read_leaves(base / place)
    restore(base, work)
    case.do(work / place, work / place)
    expected = take_stock(work)
    case.undo(work / place, work / place)
    assert read_leaves(work / place) == leaves
    remove(work)
    restore(base, work)

    while met:
        step += 1
        number = (errno.EIO, errno.ENOSPC)[step % 2]  # which of the two makes no difference above
        done, met = run_and_fail(monkeypatch, lambda: case.do(work / place, work / place), step, number)
        refused += not done
        stock = take_stock(work)
        assert stock == expected or (stock == before and not done)
        assert stages_in(work) == []
        if stock == expected:
            remove(work)
            restore(base, work)
    assert refused > 15
