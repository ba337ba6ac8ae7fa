"""A fix that is killed at any step leaves all of the old or all of the new, and the next run completes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.killing import CHANGING
from tests.crash.mending_sources import CASES, LEFT, Case
from tests.crash.orbax_sources import restore
from tests.crash.sources import remove, stages_in, visible
from tests.crash.test_failing import run_and_fail
from tests.crash.test_killed import run_and_kill
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints.survey.walking import find_units

pytestmark = pytest.mark.usefixtures("no_disk")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed(tmp_path: Path, case: Case) -> None:
    """Killed before any call to the system, a fix is carried out whole or not at all; leftovers are cleared up."""
    base, work, step, seen = tmp_path / "base", tmp_path / "work", 0, set()
    base.mkdir()
    place = case.make(base).relative_to(base)
    before = take_stock(base)
    restore(base, work)
    (unit,) = find_units(work / place)
    case.mend(unit)
    expected = take_stock(work)

    through = False
    while not through:
        step += case.stride
        remove(work)
        restore(base, work)
        through = run_and_kill(lambda: case.mend(unit), step, CHANGING)
        stock = visible(work)
        if case.resumes and stock not in (before, expected):
            assert {name: it for name, it in stock.items() if LEFT not in name} == expected
            assert stock.items() <= before.items()
        else:
            assert stock in (before, expected)
            seen.add(stock == expected)
        if stock != expected and (step % 4 == 0 or stages_in(work)):
            case.mend(unit)
            assert take_stock(work) == expected
    assert step > 4
    assert seen == {False, True}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """A fix that the system fails at any call refuses in words, leaves no stage, and the old or the new whole."""
    base, work, step, refused, met = tmp_path / "base", tmp_path / "work", 0, 0, True
    base.mkdir()
    place = case.make(base).relative_to(base)
    before = take_stock(base)
    restore(base, work)
    (unit,) = find_units(work / place)
    case.mend(unit)
    expected = take_stock(work)

    while met:
        step += case.stride
        remove(work)
        restore(base, work)
        done, met = run_and_fail(monkeypatch, lambda: case.mend(unit), step, 5)
        refused += not done
        stock = take_stock(work)
        assert stages_in(work) == []
        if not case.resumes:
            assert stock == expected or (stock == before and not done)
    assert refused > 4
