"""Fixes of what the ORB rules find: carried out, they leave nothing to fix, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.building import Case
from tests.lint.cases_orb import CASES
from tests.lint.test_orbax_layouts import find
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.edits import DropMember, Edit, JoinDatabases, RemovePath, SetMember, WriteText
from tiecli.verbs.fixing import mend

BAD = [case for case in CASES if case.raises]


@pytest.mark.parametrize("case", BAD, ids=lambda case: f"{case.code}-{case.name}")
def test_fixes_mend_what_they_are_for_and_nothing_else(case: Case, tmp_path: Path) -> None:
    """What had a fix is gone afterwards, and only the files that the fix names are other ones."""
    path = case.build(tmp_path)
    found = find(path)
    fixes = [(code, finding.fix) for code, finding in found if finding.fix is not None]
    before = list_files(path)
    applied = mend(Unit(path, "orbax", path), fixes, sync=False)

    assert len(applied) == len(fixes)
    kept = [(code, finding) for code, finding in found if finding.fix is None]
    assert (find(path) if path.exists() and any(path.iterdir()) else []) == kept
    meant = [place for _, fix in fixes for edit in fix.edits for place in list_places(edit)]
    after = list_files(path)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert {name for name in changed if not name.startswith(tuple(meant) or ("/",))} == set()


def list_files(path: Path) -> dict[str, bytes]:
    """All files of a checkpoint."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def list_places(edit: Edit) -> list[str]:
    """What the names of all begin with that an edit may change."""
    match edit:
        case SetMember(name) | DropMember(name) | WriteText(name) | RemovePath(name):
            return [name]
        case JoinDatabases(item):
            below = "" if item == "." else f"{item}/"
            return [f"{below}manifest.ocdbt", f"{below}d/"]
    raise AssertionError(edit)
