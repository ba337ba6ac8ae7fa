"""Drawing: where the gradients of one tie differ, element by element, for a report with pictures.

The probe keeps no more of a tile than a few numbers, so the tiles are gone through again.
What is drawn is `f |g_tied - g_src - T'(g_dst)|` of each element, with the factor `f` that
the loss as a whole gives every gradient. What makes that factor itself differ between the
two sides is spread over all elements alike, and left out: it says nothing of where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from tiecli.keypaths import KeyPath
from tiecli.ties import Tie
from tiecli.verification.devices import Device, float64
from tiecli.verification.hops import clip
from tiecli.verification.kernels import gather_tile
from tiecli.verification.loading import Sources, TileLoader
from tiecli.verification.pictures import DifferencePainter
from tiecli.verification.plans import Plan, Tile
from tiecli.verification.tiling import TileSize
from tiecli.verification.verdicts import DifferencePicture
from tiecli.verification.views import Job, list_jobs

# Elements of a tile of one block; a dozen float64s of each are held at a time.
_TILE = 1 << 18


def draw_tie(tie: Tie, sources: Sources, device: Device, factor: float) -> DifferencePicture:
    """Draws where the gradients at a tie's canonical leaf differ; of several leaves, at the worst.

    Args:
        tie: A tie that the probe has measured.
        sources: Where the leaves are read.
        device: Whose first device computes.
        factor: What the loss as a whole multiplies every gradient by.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    specs = sources.tied.specs()
    painters = {path: DifferencePainter(specs[path].shape) for path in tie.canonicals}
    loader = TileLoader(sources)
    wide = device.platform != "tpu"
    for run in list_jobs([tie], specs, TileSize(_TILE, _TILE), wide=wide):
        for job in run:
            differences = _compile(job.plan, device)(loader.load(job))
            for path, found in zip(_leaves(job), differences, strict=True):
                _paint(painters[path], job, specs[path].shape, found * factor)
    return max((painter.picture() for painter in painters.values()), key=_hottest)


def _leaves(job: Job) -> tuple[KeyPath, ...]:
    return job.tie.canonicals if job.view is None else (job.view.route.path,)


def _paint(painter: DifferencePainter, job: Job, shape: tuple[int, ...], difference: Any) -> None:
    box = job.box if job.view is not None else tuple((0, length) for length in shape)
    there = clip(box, shape)
    if there is None:
        return
    if difference.ndim > len(shape):
        # A complex number is off by as much as the worse of its parts.
        difference = difference.max(axis=-1)
    inside = tuple(slice(low - start, high - start) for (start, _), (low, high) in zip(box, there, strict=True))
    painter.add(there, difference[inside])


def _hottest(picture: DifferencePicture) -> float:
    return max((value for row in picture.heat for value in row), default=0.0)


@lru_cache(maxsize=256)
def _compile(plan: Plan, device: Device) -> Callable[[Tile], list[Any]]:
    """Compiles what gives the difference of every element of a tile, once for each plan."""
    import jax

    def gather(tile: Tile) -> Any:
        """Keeps the differences of all that is gathered."""
        return gather_tile(plan, tile).difference

    # What is NaN on both sides alike is no difference.
    plan = replace(plan, masks=True)
    compiled = jax.jit(gather)

    def run(tile: Tile) -> list[Any]:
        """Runs it."""
        with float64():
            return [np.asarray(found) for found in compiled(jax.device_put(tile, device.devices[0]))]

    return run
