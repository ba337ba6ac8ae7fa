"""Views: how each leaf of each tie is cut into tiles, and which of them are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiecli.boxes import Box
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie
from tiecli.transforms.steps import Cast, Step
from tiecli.verification.decoding import form_of
from tiecli.verification.plans import Part, Plan
from tiecli.verification.routes import Route, exact_steps, find_route
from tiecli.verification.tiling import TileSize, Tiling, block_strides, choose_tiling


@dataclass(frozen=True, slots=True)
class View:
    """One leaf of one tie, cut into tiles.

    Attributes:
        route: How the leaf goes into the alias.
        plan: What its kernel is compiled for.
        steps: What makes a tile of the alias of a tile of the leaf, as stored.
    """

    route: Route
    plan: Plan
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One tile of one view, or a tie that is looked at whole.

    Attributes:
        tie: The tie.
        plan: What its kernel is compiled for.
        factor: What the alias is scaled by.
        nbytes: How much of the alias this is, as stored.
        view: The view; None for a tie as a whole.
        box: The tile of the leaf; empty for a tie as a whole.
    """

    tie: Tie
    plan: Plan
    factor: float
    nbytes: int
    view: View | None = None
    box: Box = ()


def list_jobs(
    ties: Sequence[Tie], specs: Mapping[KeyPath, LeafSpec], size: TileSize, *, wide: bool
) -> Iterator[tuple[Job, ...]]:
    """Yields all there is to be looked at, in runs that share what they read of the stored leaves.

    Args:
        ties: Ties that share stored leaves; all of floats, none of them empty.
        specs: Of the stored leaves.
        size: How large tiles are to be.
        wide: Whether the device can look into a float64.
    """
    routes = {tie: [find_route(tie, at, specs) for at in range(len(tie.canonicals))] for tie in ties}
    whole = [tie for tie in ties if not all(choose_tiling([found], size) for found in routes[tie] if found.source.size)]
    by_leaf: dict[KeyPath, list[Route]] = {}
    for tie in ties:
        for path, found in zip(tie.canonicals, routes[tie], strict=True):
            if tie not in whole and found.source.size:
                by_leaf.setdefault(path, []).append(found)
    for together in by_leaf.values():
        # What can be cut for each alias alone may not be for all at once; then it is read for each.
        for part in [together] if choose_tiling(together, size) else [[found] for found in together]:
            if tiling := choose_tiling(part, size):
                yield from _tile_jobs(tiling, [_plan_view(found, tiling, wide) for found in part])
    for tie in whole:
        yield (_plan_whole(tie, routes[tie], wide),)


def _tile_jobs(tiling: Tiling, views: Sequence[View]) -> Iterator[tuple[Job, ...]]:
    for box in tiling.tiles():
        jobs: list[Job] = []
        for view in views:
            route = view.route
            if (extent := route.extent(box)) is not None:
                nbytes = LeafSpec(lengths(extent), route.result.dtype).nbytes
                jobs.append(Job(route.tie, view.plan, route.factor, nbytes, view, box))
        # What no alias takes anything of has a gradient of its own all the same.
        first = views[0]
        yield tuple(jobs) or (Job(first.route.tie, first.plan, first.route.factor, 0, first, box),)


def _plan_view(found: Route, tiling: Tiling, wide: bool) -> View:
    tile, block = (tuple((0, side) for side in sides) for sides in (tiling.tile, tiling.block))
    image, first = found.image(tile), found.image(block)
    plan = Plan(
        sources=(Part(form_of(found.source.dtype), tiling.tile, tiling.block),),
        alias=Part(form_of(found.result.dtype), lengths(image), lengths(first)),
        steps=without_casts(found.local_steps(block)),
        rounded=found.rounds,
        blocks=tiling.blocks,
        origin=tuple(low - start for (low, _), (start, _) in zip(first, image, strict=True)),
        strides=block_strides(found, tiling),
        wide=wide,
    )
    return View(found, plan, found.local_steps(tile))


def _plan_whole(tie: Tie, routes: Sequence[Route], wide: bool) -> Job:
    sources = [found.source for found in routes]
    result = routes[0].result
    plan = Plan(
        sources=tuple(Part(form_of(spec.dtype), spec.shape, spec.shape) for spec in sources),
        alias=Part(form_of(result.dtype), result.shape, result.shape),
        steps=without_casts(exact_steps(tie.transform, sources)),
        rounded=routes[0].rounds,
        wide=wide,
    )
    return Job(tie, plan, routes[0].factor, result.nbytes)


def without_casts(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Leaves casts out: on a device everything is float64, and the derivative of rounding counts as one."""
    return tuple(step for step in steps if not isinstance(step, Cast))


def lengths(box: Box) -> tuple[int, ...]:
    """The shape of a box."""
    return tuple(stop - start for start, stop in box)
