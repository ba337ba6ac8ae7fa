"""Adjoints: the dot test of a transform, `<T x, y> = <x, T' y>`.

What it tests is one of tiecli's own two accounts of a transform against the other: the
gradients of an untied model are summed through the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, apply_step
from tiecli.transforms.shapes import stage_specs
from tiecli.transforms.steps import Step
from tiecli.verification.devices import float64
from tiecli.verification.routes import Route, exact_steps, find_route
from tiecli.verification.statements import check_gradient
from tiecli.verification.tiling import TileSize, choose_tiling
from tiecli.verification.verdicts import Judgement
from tiecli.verification.views import without_casts

_TOLERANCE = 1e-13
"""Relative to the sum of what is added up, absolute values taken; rounding makes 1e-16."""

_MOST = 1 << 22
"""Elements of the largest leaf that is tested whole."""

_TILE = 1 << 12
"""Elements of a tile of any larger one."""

# Short axes do as well as long ones; lengths that share no divisor tell axes apart.
_LENGTHS = (5, 7, 11, 12, 16, 24, 36, 64, 120, 256, 1024, 4096)


def check_adjoint(transform: Transform, sources: Sequence[LeafSpec], seed: int = 0) -> Judgement:
    """Puts a transform and its adjoint to the dot test, on random leaves in float64.

    Long axes are cut short where the steps allow it; where they do not, tiles are tested.
    Casts are left out: the derivative of rounding counts as one.

    Args:
        transform: The transform.
        sources: What it is applied to.
        seed: Of the random leaves.

    Returns:
        PASS, FAIL, or NOT APPLICABLE where there is no gradient.

    Raises:
        TransformMismatchError: The transform does not fit.
    """
    applicable = check_gradient(transform, sources)
    if applicable.verdict != "PASS":
        return applicable
    stages = (*sources, *stage_specs(transform.steps, sources))
    is_complex = any(stage.dtype.kind == "complex" for stage in stages)
    dice = np.random.default_rng(seed)
    for steps, leaves in _cut_short(transform, sources):
        # What is complex is computed in 128 bits, which no leaf has; for the steps it makes no difference.
        wide = [leaf._replace(dtype=DTYPES["C64" if is_complex else "F64"]) for leaf in leaves]
        left, right, size = _dot_both_ways(without_casts(steps), wide, is_complex, dice)
        if not abs(left - right) <= _TOLERANCE * size:
            products = f"<T x, y> is {left:.17g}, <x, T' y> {right:.17g}"
            return Judgement("FAIL", f"`{transform}` and its adjoint disagree: {products}")
    return Judgement("PASS")


def _cut_short(
    transform: Transform, sources: Sequence[LeafSpec]
) -> Iterator[tuple[tuple[Step, ...], Sequence[LeafSpec]]]:
    """Gives the steps for short axes; where they name the lengths of long ones, for a tile of each leaf."""
    shorter = _shorten(transform, sources)
    sizes = [stage.size for stage in (*shorter, *stage_specs(transform.steps, shorter))]
    routes = [] if max(sizes) <= _MOST or not all(sizes) else _find_routes(transform, sources)
    tilings = [choose_tiling([route], TileSize(_TILE, _TILE)) for route in routes]
    if not routes or None in tilings:
        yield exact_steps(transform, shorter), shorter
    else:
        for route, tiling in zip(routes, tilings, strict=True):
            if tiling is not None:
                tile = tuple((0, side) for side in tiling.tile)
                yield route.local_steps(tile), [route.source._replace(shape=tiling.tile)]


def _find_routes(transform: Transform, sources: Sequence[LeafSpec]) -> list[Route]:
    paths = tuple(KeyPath((position,)) for position in range(len(sources)))
    tie, specs = Tie(KeyPath(("alias",)), paths, transform), dict(zip(paths, sources, strict=True))
    return [find_route(tie, position, specs) for position in range(len(sources))]


def _shorten(transform: Transform, sources: Sequence[LeafSpec]) -> Sequence[LeafSpec]:
    """Cuts every axis as short as the steps allow, in all sources alike."""
    for axis in range(max((len(source.shape) for source in sources), default=0)):
        for at, length in enumerate(_LENGTHS):
            # An axis that differs from the next by a length of its own is told from it.
            wanted = _LENGTHS[(at + axis) % len(_LENGTHS)] if at == 0 else length
            shorter = [_with_length(source, axis, wanted) for source in sources]
            try:
                stages = stage_specs(transform.steps, shorter)
            except TransformMismatchError:
                continue
            if all(stage.size for stage in stages):
                sources = shorter
                break
    return sources


def _with_length(source: LeafSpec, axis: int, length: int) -> LeafSpec:
    if axis >= len(source.shape) or source.shape[axis] <= length:
        return source
    return source._replace(shape=(*source.shape[:axis], length, *source.shape[axis + 1 :]))


def _dot_both_ways(
    steps: tuple[Step, ...], sources: Sequence[LeafSpec], is_complex: bool, dice: np.random.Generator
) -> tuple[float, float, float]:
    """Computes both dot products, and the sum of what was added up in the first, absolute values taken."""
    import jax.numpy as jnp

    with float64():
        arrays = [_draw(source.shape, is_complex, dice) for source in sources]
        # numpy cannot move elements of 16 bytes as bits.
        xp: Any = jnp if is_complex else np
        specs = stage_specs(steps, sources)
        parts: list[Any] = [xp.asarray(array) for array in arrays]
        for step, spec in zip(steps, specs, strict=False):
            parts = [apply_step(step, parts, spec, xp)]
        made = np.asarray(parts[0])
        cotangent = _draw(made.shape, is_complex, dice)
        pulled = [xp.asarray(cotangent)]
        for at in reversed(range(len(steps))):
            before = sources if at == 0 else [specs[at]]
            pulled = list(adjoint(Transform(steps[at : at + 1]), pulled[0], before, xp))
        left = _products(made, cotangent)
        right = sum(float(_products(x, np.asarray(part)).sum()) for x, part in zip(arrays, pulled, strict=True))
    return float(left.sum()), right, float(np.abs(left).sum())


def _draw(shape: tuple[int, ...], is_complex: bool, dice: np.random.Generator) -> NDArray[Any]:
    if not is_complex:
        return dice.standard_normal(shape)
    return dice.standard_normal(shape) + 1j * dice.standard_normal(shape)


def _products(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    products: NDArray[np.float64] = (left.conj() * right).real
    return products
