"""A run that carries optimizer state, killed at any step, leaves all of the old or all of the new."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.killing import kill_in_place, kill_new_target
from tests.crash.orbax_sources import Case
from tests.crash.state_sources import IN_PLACE, NEW

pytestmark = pytest.mark.usefixtures("no_disk")


@pytest.mark.parametrize("case", NEW, ids=str)
def test_new_target(tmp_path: Path, case: Case) -> None:
    """Leaves and what was summed for them are there together, or neither is."""
    kill_new_target(tmp_path, case)


@pytest.mark.parametrize("case", IN_PLACE, ids=str)
def test_in_place(tmp_path: Path, case: Case) -> None:
    """No leaf is tied whose state is not, and no state is summed twice by the next run."""
    kill_in_place(tmp_path, case)
