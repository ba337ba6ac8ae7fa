"""Killing a run at every step, to a new target and in place, whatever the checkpoint is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.orbax_sources import Case, read_leaves, restore
from tests.crash.sources import remove, stages_in, visible
from tests.crash.test_killed import CALLS, run_and_kill
from tests.unit.checkpoints.safetensors.surgery import take_stock

# Killed before it closes a file, a run leaves on the disk what it leaves killed before the next call.
CHANGING = tuple((module, tuple(name for name in names if name != "close")) for module, names in CALLS)


def kill_new_target(tmp_path: Path, case: Case) -> None:
    """Expects a new target to be absent or whole at every step, and the next run to complete and clear up."""
    source, target = case.make(tmp_path), tmp_path / "out"
    before = take_stock(source)
    case.do(source, target)
    expected, leaves, step, published = take_stock(target), read_leaves(target), 0, 0
    remove(target)

    through = False
    while not through:
        step += 1
        through = run_and_kill(lambda: case.do(source, target), step, CHANGING)
        assert take_stock(source) == before
        if os.path.lexists(target):
            published += 1
            assert take_stock(target) == expected
            assert read_leaves(target) == leaves
            remove(target)
        elif step % 7 == 0:
            case.do(source, target)
            assert take_stock(target) == expected
            assert stages_in(tmp_path) == []
            remove(target)
        for stage in stages_in(tmp_path):
            # What has to be cleared away takes calls, and the next kill would meet another place.
            if stage.parent == tmp_path:
                remove(stage)
    assert step > 15
    assert 1 < published < step


def kill_in_place(tmp_path: Path, case: Case) -> None:
    """Expects all of the old or all of the new to be there at every step, and the next run to clear up."""
    base, work, step, seen = tmp_path / "base", tmp_path / "work", 0, set()
    base.mkdir()
    place = case.make(base).relative_to(base)
    before, leaves = take_stock(base), read_leaves(base / place)
    restore(base, work)
    case.do(work / place, work / place)
    expected = take_stock(work)

    through = False
    while not through:
        step += 1
        remove(work)
        restore(base, work)
        through = run_and_kill(lambda: case.do(work / place, work / place), step, CHANGING)
        stock = visible(work)
        assert stock in (before, expected)
        seen.add(stock == expected)
        if step % 7 and not stages_in(work):
            continue
        act = case.do if stock == before else case.undo
        act(work / place, work / place)
        assert stages_in(work) == []
        if stock == before:
            assert take_stock(work) == expected
        else:
            assert read_leaves(work / place) == leaves
    assert step > 15
    assert seen == {False, True}
