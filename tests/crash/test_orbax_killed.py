"""A run on an Orbax checkpoint killed at any step leaves the target absent or whole, and the source untouched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.killing import kill_in_place, kill_new_target
from tests.crash.orbax_sources import IN_PLACE, NEW, Case

pytestmark = pytest.mark.usefixtures("no_disk")


@pytest.mark.parametrize("case", NEW, ids=str)
def test_new_target(tmp_path: Path, case: Case) -> None:
    """A new target is absent or whole at every step, and the next run completes and clears up."""
    kill_new_target(tmp_path, case)


@pytest.mark.parametrize("case", IN_PLACE, ids=str)
def test_in_place(tmp_path: Path, case: Case) -> None:
    """In place, all of the old or all of the new is there at every step, and the next run clears up."""
    kill_in_place(tmp_path, case)
