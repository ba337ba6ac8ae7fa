"""Statistics: what the rules about values need to know of every leaf, from one pass over all bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from queue import SimpleQueue
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tiecli.checkpoints.protocol import RAW, CheckpointReader, Progress, ignore_progress
from tiecli.detect.threads import run_in_pairs
from tiecli.detect.twins import find_shared
from tiecli.errors import TiecliError
from tiecli.keypaths import KeyPath
from tiecli.linting.values import Block, Tally, find_gauge

BLOCK_NBYTES = 9 << 16
"""A multiple of 24, so that it holds whole elements; it stays in a core's second-level cache."""

# What a thread takes at a time, so that two are done at about the same time.
_TASK_NBYTES = 64 << 20

# Two threads lose more by waiting for each other than they gain, where a leaf is smaller.
_WORTHWHILE = 256 << 10


class LeafStatistics(NamedTuple):
    """What the values of one leaf are like.

    Attributes:
        nan: How many elements are NaN; of complex ones, those with a part that is.
        inf: How many are infinite, likewise.
        is_zero: Whether all are zero.
        zero_tail: Bytes of the elements at the end whose bits are all zero.
        span: Binary orders of magnitude between the smallest and the largest element that
            are finite and not zero; None unless asked for.
    """

    nan: int
    inf: int
    is_zero: bool
    zero_tail: int
    span: int | None = None


class Statistics(NamedTuple):
    """What the values of a checkpoint are like.

    Attributes:
        leaves: By on-disk name, in stored order; empty leaves are left out, and so are
            second names of stored bytes.
        unread: Why leaves that are not among them could not be read.
    """

    leaves: Mapping[str, LeafStatistics]
    unread: tuple[TiecliError, ...] = ()

    def check_all_read(self) -> None:
        """Checks that no leaf is missing.

        Raises:
            TiecliError: What was wrong with the first one that is.
        """
        if self.unread:
            raise self.unread[0]


class _Task(NamedTuple):
    """Some bytes of a leaf."""

    path: KeyPath
    start: int
    stop: int


def take_statistics(
    reader: CheckpointReader,
    *,
    known: Mapping[KeyPath, Tally] = MappingProxyType({}),
    ranges: bool = False,
    progress: Progress = ignore_progress,
    block_nbytes: int = BLOCK_NBYTES,
) -> Statistics:
    """Reads every byte of a checkpoint once, two large leaves at a time, in blocks of bounded size.

    Args:
        reader: The checkpoint.
        known: Leaves that were measured already, and are not read.
        ranges: Whether to find how far the magnitudes of a leaf span, which takes longer.
        progress: Told the bytes that have been dealt with.
        block_nbytes: How much to hold at a time; a multiple of 24.
    """
    specs = reader.specs()
    # Leaves of safetensors files are their own bytes, and no others'.
    forms = {path: reader.stored_form(path) for path in specs} if reader.format == "orbax" else {}
    repeated = {path for _, *others in find_shared(reader, forms) for path in others}
    whole = {path for path, form in forms.items() if form.encoding != RAW}
    wanted = [path for path, spec in specs.items() if spec.nbytes and path not in repeated and path not in known]
    progress(sum(specs[path].nbytes for path in known))
    buffers: SimpleQueue[Block] = SimpleQueue()
    for _ in range(2):
        buffers.put(np.empty(block_nbytes, np.uint8))
    lock = Lock()

    def tell(nbytes: int) -> None:
        """Reports progress, one thread at a time."""
        with lock:
            progress(nbytes)

    def measure(task: _Task) -> Tally | TiecliError:
        """Looks at some bytes of a leaf."""
        buffer = buffers.get()
        try:
            return _measure(reader, task, buffer, tell, ranges=ranges)
        except TiecliError as error:
            return error
        finally:
            buffers.put(buffer)

    # What is compressed is decoded from its start on, so it is not divided.
    tasks = [task for path in wanted for task in _divide(path, specs[path].nbytes, path not in whole)]
    large = [task for task in tasks if specs[task.path].nbytes >= _WORTHWHILE]
    small = [task for task in tasks if specs[task.path].nbytes < _WORTHWHILE]
    outcomes = (*run_in_pairs(measure, large), *map(measure, small))
    found = zip((task.path for task in (*large, *small)), outcomes, strict=True)
    return _gather(reader, [*known.items(), *found], ranges=ranges)


def _divide(path: KeyPath, nbytes: int, divisible: bool) -> Iterator[_Task]:
    step = _TASK_NBYTES if divisible else nbytes
    for start in range(0, nbytes, step):
        yield _Task(path, start, min(start + step, nbytes))


def _measure(reader: CheckpointReader, task: _Task, buffer: Block, progress: Progress, *, ranges: bool) -> Tally:
    gauge = find_gauge(reader.specs()[task.path].dtype)
    tally = Tally()
    for offset in range(task.start, task.stop, len(buffer)):
        block = buffer[: task.stop - offset]
        reader.read_into(task.path, offset, block.data)
        tally.join(gauge.measure(block, ranges=ranges))
        progress(len(block))
    return tally


def _gather(
    reader: CheckpointReader, found: Iterable[tuple[KeyPath, Tally | TiecliError]], *, ranges: bool
) -> Statistics:
    """Puts the parts of each leaf together."""
    tallies: dict[KeyPath, Tally] = {}
    unread: dict[KeyPath, TiecliError] = {}
    for path, outcome in found:
        if isinstance(outcome, TiecliError):
            unread.setdefault(path, outcome)
        elif path in tallies:
            tallies[path].join(outcome)
        else:
            tallies[path] = outcome
    specs = reader.specs()
    leaves = {
        path.spelling: LeafStatistics(
            tally.nan,
            tally.inf,
            tally.is_zero,
            tally.zero_tail,
            find_gauge(spec.dtype).span(tally) if ranges else None,
        )
        for path, spec in specs.items()
        if (tally := tallies.get(path)) is not None and path not in unread
    }
    return Statistics(leaves, tuple(unread.values()))
