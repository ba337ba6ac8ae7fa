"""Diffing: what is different between two checkpoints."""

from __future__ import annotations

from pathlib import Path

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Tracker, track_nothing
from tiecli.diffs import DiffReport, diff_checkpoints


def diff(left: str | Path, right: str | Path, *, values: bool = False, track: Tracker = track_nothing) -> DiffReport:
    """Compares two checkpoints: leaves, shapes, dtypes, values, metadata, ties.

    Args:
        left: A checkpoint, in any spelling that `inspect` takes; a step or item of Orbax by its path.
        right: Another.
        values: Measure how far changed leaves lie apart, not only that they do.
        track: Shows progress.

    Raises:
        CheckpointError: One of them cannot be trusted or read.
    """
    with open_reader(Path(left)) as before, open_reader(Path(right)) as after:
        nbytes = sum(spec.nbytes for spec in before.specs().values())
        with track("comparing", nbytes) as progress:
            return diff_checkpoints(before, after, values=values, progress=progress)
