"""Diffs: what is different between two checkpoints, leaf by leaf."""

from __future__ import annotations

from tiecli.diffs.report import Change, DiffEntry, DiffReport
from tiecli.diffs.walk import diff_checkpoints

__all__ = ["Change", "DiffEntry", "DiffReport", "diff_checkpoints"]
