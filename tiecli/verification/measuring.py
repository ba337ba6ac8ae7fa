"""Measuring: all tiles of some ties through the kernels, reading while devices compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from math import fsum, prod, sqrt, tanh
from threading import local

import numpy as np
from numpy.typing import NDArray

from tiecli.verification.devices import Device
from tiecli.verification.kernels import STATISTICS, compile_kernel
from tiecli.verification.loading import Sources, TileLoader
from tiecli.verification.plans import Plan, Tile
from tiecli.verification.tiling import TileSize
from tiecli.verification.verdicts import GradientMeasure
from tiecli.verification.views import Job

Row = NDArray[np.float64]
"""What a kernel gives of one tile, as `STATISTICS` names it."""

# One reads while the other computes; both do either.
_WORKERS = 2


@dataclass
class Tally:
    """What has been measured of one tie.

    Attributes:
        rows: Of each tile.
        entries: How many numbers the sums of the terms were gathered in.
    """

    rows: list[Row] = field(default_factory=list)
    entries: int = 0

    def add(self, job: Job, row: Row) -> None:
        """Takes in a tile."""
        self.rows.append(row)
        self.entries += sum(prod(part.block) for part in job.plan.sources)

    @property
    def masked(self) -> int:
        """How many elements were left out."""
        return int(sum(row[STATISTICS.index("masked")] for row in self.rows))

    def measure(self, tolerance: float) -> GradientMeasure:
        """Puts together what was measured.

        The gradients of the two sides are `f_t a` and `f_u b`, with `f` known only after the
        last tile; `|f_t a - f_u b| <= f_t |a - b| + |f_t - f_u| |b|` is what is reported.

        Args:
            tolerance: How far they may lie apart, relative to the largest.
        """
        table = dict(zip(STATISTICS, np.array(self.rows).T, strict=True))
        tied, untied = self.factors()
        difference, source, pulled = (float(table[name].max()) for name in STATISTICS[:3])
        error = tied * difference + abs(tied - untied) * (source + pulled)
        return GradientMeasure(error, tolerance * untied * (source + pulled), untied * source, untied * pulled)

    def factors(self) -> tuple[float, float]:
        """Gives what the loss as a whole multiplies every gradient by, tied and untied."""
        table = dict(zip(STATISTICS, np.array(self.rows).T, strict=True))
        scale = _total(table["size"]) / sqrt(self.entries) or 1.0
        tied, untied = (1.5 - tanh(_total(table[side]) / scale) ** 2 / 2 for side in ("tied", "untied"))
        return tied, untied


def _total(column: Row) -> float:
    """Adds up what tiles gave, the same whatever their order."""
    return fsum(column) if np.isfinite(column).all() else float("nan")


def tile_size(device: Device, elements: int) -> TileSize:
    """Chooses how much is read and computed at a time.

    Args:
        device: Where it is computed.
        elements: Of the largest leaf.
    """
    if device.platform == "cpu":
        # The float64s of a block stay in a core's second-level cache.
        return TileSize(1 << 20, 1 << 13)
    # A kernel must be large to keep an accelerator busy, and all that are under way stay small beside the leaf.
    share = min(1 << 24, max(1 << 20, elements // (4 * len(device.devices))))
    return TileSize(share, share)


def measure_jobs(runs: Iterable[tuple[Job, ...]], sources: Sources, device: Device) -> Iterator[tuple[Job, Row]]:
    """Measures tiles in the order in which they are listed.

    Args:
        runs: What to measure; the jobs of a run read the same tile of a stored leaf.
        sources: Where leaves are read.
        device: Where they are computed.
    """
    waiting = iter(runs)
    own = _Own()
    under_way: deque[Future[list[tuple[Job, Row]]]] = deque()
    with ThreadPoolExecutor(_WORKERS, "probe") as pool:
        try:
            while True:
                while len(under_way) <= _WORKERS and (some := list(islice(waiting, len(device.devices)))):
                    under_way.append(pool.submit(own.measure, some, sources, device))
                if not under_way:
                    return
                yield from under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Own(local):
    """What each worker has for itself: a loader, whose memory the next tiles come in."""

    def __init__(self) -> None:
        self._loader: TileLoader | None = None

    def measure(self, runs: Sequence[tuple[Job, ...]], sources: Sources, device: Device) -> list[tuple[Job, Row]]:
        """Measures some runs."""
        loader = self._loader = self._loader or TileLoader(sources, len(device.devices))
        by_plan: dict[Plan, list[Job]] = {}
        for job in (job for run in runs for job in run):
            by_plan.setdefault(job.plan, []).append(job)
        measured: list[tuple[Job, Row]] = []
        for plan, jobs in by_plan.items():
            for start in range(0, len(jobs), loader.at_once):
                some = jobs[start : start + loader.at_once]
                measured += zip(some, _run(plan, [loader.load(job) for job in some], device), strict=False)
        return measured


def _run(plan: Plan, tiles: Sequence[Tile], device: Device) -> NDArray[np.float64]:
    # Devices without a tile of their own repeat one, and are not asked.
    tiles = [*tiles, *[tiles[0]] * (len(device.devices) - len(tiles))]
    rows: NDArray[np.float64] = compile_kernel(plan, device)(tiles)
    if not np.isfinite(rows).all():
        # Few leaves hold NaNs or infinities, and looking out for them takes a quarter of the time.
        rows = compile_kernel(replace(plan, masks=True), device)(tiles)
    return rows
