"""Workers: many checkpoints are checked by several processes, and come back in their order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from tiecli.checkpoints.collecting import pause_collecting
from tiecli.checkpoints.protocol import Tracker, track_nothing
from tiecli.checkpoints.survey.safetensors import list_names
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import CheckpointError
from tiecli.linting.checking import Checked, check_unit, spell_path
from tiecli.linting.report import LintFailure
from tiecli.linting.settings import Level, Settings

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

# Fewer are done before the processes would be there.
_WORTHWHILE: dict[Level, int] = {"header": 256, "data": 2}
_MOST_IN_BATCH = 64

_settings: Settings | None = None


def check_units(
    units: Sequence[Unit],
    settings: Settings,
    jobs: int = 1,
    *,
    track: Tracker = track_nothing,
    count: Tracker = track_nothing,
) -> list[Checked]:
    """Checks checkpoints, in this process or in several.

    Args:
        units: The checkpoints.
        settings: Which rules run, and what becomes of what they find.
        jobs: How many processes may work at once.
        track: Shows the progress of reading one checkpoint, where this process reads array data.
        count: Shows the progress in checkpoints, elsewhere.
    """
    jobs = min(jobs, len(units))
    if jobs > 1 and len(units) >= _WORTHWHILE[settings.level]:
        with count("linting", len(units)) as progress:
            found = []
            for checked in _check_apart(units, settings, jobs):
                found.append(checked)
                progress(1)
            return found
    if settings.level == "data":
        return [check_unit(unit, settings, track, listing) for unit, listing in _list_directories(units)]
    with count("linting", len(units)) as progress:
        found = []
        for unit, listing in _list_directories(units):
            with pause_collecting():
                found.append(check_unit(unit, settings, listing=listing))
            progress(1)
        return found


def _list_directories(units: Iterable[Unit]) -> Iterator[tuple[Unit, frozenset[str] | None]]:
    """Gives each checkpoint with the names in its directory, which many in a row may share; None if none is needed."""
    for directory, group in groupby(units, key=attrgetter("directory")):
        together = tuple(group)
        listing = None
        if together[0].format == "safetensors" and len(together) > 1:
            # One that cannot be listed is told of by whoever looks at the first of them.
            with suppress(CheckpointError):
                listing = list_names(directory)
        yield from ((unit, listing) for unit in together)


def _check_apart(units: Sequence[Unit], settings: Settings, jobs: int) -> Iterator[Checked]:
    """Checks checkpoints in several processes."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    size = min(_MOST_IN_BATCH, len(units) // (jobs * 8) or 1)
    batches = [units[start : start + size] for start in range(0, len(units), size)]
    pool = ProcessPoolExecutor(jobs, _choose_context(), _start, (settings,))
    whole = False
    try:
        results = [pool.submit(_check_batch, batch) for batch in batches]
        for result, batch in zip(results, batches, strict=True):
            try:
                yield from result.result()
            except BrokenProcessPool:
                yield from map(_give_up, batch)
        whole = True
    finally:
        # Whoever stops reading, by Ctrl-C too, does not wait for what has not begun.
        pool.shutdown(wait=whole, cancel_futures=True)


def _choose_context() -> BaseContext:
    """Chooses how processes start: as copies of this one, which is quick, unless it has threads."""
    from multiprocessing import get_context

    alone = False
    with suppress(OSError):
        alone = sys.platform == "linux" and len(list(Path("/proc/self/task").iterdir())) == 1
    # A copy would wait for ever for a lock that a thread of the original holds.
    return get_context("fork" if alone else "spawn")


def _start(settings: Settings) -> None:
    """Prepares a process: it ends without a word at Ctrl-C, of which the first one tells."""
    global _settings  # noqa: PLW0603  # sent once a process, and not with every batch
    _settings = settings
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # One that is killed tells nobody; what it leaves would wait for ever, and whoever reads its output as long.
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing.connection import wait
    from multiprocessing.process import parent_process

    if (parent := parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def _check_batch(units: Sequence[Unit]) -> list[Checked]:
    assert _settings is not None
    with pause_collecting():
        return [check_unit(unit, _settings, listing=listing) for unit, listing in _list_directories(units)]


def _give_up(unit: Unit) -> Checked:
    root = spell_path(unit.root)
    problem = "the process that linted it, or another beside it, was ended"
    return Checked(root, failures=(LintFailure(root, "", problem, "Lint it with --jobs 1; memory may be short."),))
