"""Tracking: how verbs tell of their progress, whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tiecli.checkpoints.protocol import Progress, ignore_progress

Tracker = Callable[[str, int], AbstractContextManager[Progress]]
"""Opens a progress display for a task of so many bytes, or so many checkpoints."""


def track_nothing(_: str, __: int) -> AbstractContextManager[Progress]:
    """Shows no progress."""
    return nullcontext(ignore_progress)
