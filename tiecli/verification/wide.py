"""Wide: leaves, and the ties between them, in float64 whatever they are stored in.

In float64 a transform is linear: scales are applied without rounding, and casts between
float dtypes do nothing. What rounding there is on disk is a constant beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.leaves import DTYPES, LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.adjoints import adjoint
from tiecli.transforms.arrays import apply_step, array_spec
from tiecli.transforms.shapes import stage_specs
from tiecli.transforms.steps import Cast

# No checkpoint holds complex128; the transforms' rules take its elements for complex64.
_WIDE = {"float": DTYPES["F64"], "complex": DTYPES["C64"]}


def can_vary(spec: LeafSpec) -> bool:
    """Whether a leaf can be differentiated with respect to: its elements are floats or complex."""
    return spec.dtype.kind in _WIDE


def widen_leaf(array: NDArray[Any]) -> NDArray[Any]:
    """Converts a leaf to float64 or complex128, exactly; what is neither float nor complex stays as it is."""
    if not can_vary(array_spec(array)):
        return array
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


@dataclass(frozen=True, slots=True)
class WideTie:
    """A tie in float64.

    Attributes:
        tie: As it is stated.
        transform: Its linear part.
        sources: What the canonical leaves are in float64.
    """

    tie: Tie
    transform: Transform
    sources: tuple[LeafSpec, ...]

    def make(self, arrays: Sequence[Any], xp: ModuleType) -> Any:
        """Makes the alias, without any rounding but float64's.

        Args:
            arrays: The canonical leaves in float64 or complex128.
            xp: Their namespace, `jax.numpy`; or `numpy` where they are real.
        """
        specs = stage_specs(self.transform.steps, self.sources)
        for step, spec in zip(self.transform.steps, specs, strict=False):
            # The only casts left are those that make real elements complex.
            made = arrays[0].astype("complex128") if isinstance(step, Cast) else apply_step(step, arrays, spec, xp)
            arrays = [made]
        return arrays[0]

    def pull_back(self, cotangent: Any, xp: ModuleType) -> tuple[Any, ...]:
        """Takes a gradient at the alias back to the canonical leaves, by the adjoint."""
        return adjoint(self.transform, cotangent, self.sources, xp)


def widen_tie(tie: Tie, sources: Sequence[LeafSpec]) -> WideTie | None:
    """Carries a tie over to float64.

    Args:
        tie: Which leaf follows from which, and how.
        sources: What the canonical leaves are as stored.

    Returns:
        The tie in float64; None where nothing can be differentiated, since there are integers on its way.

    Raises:
        TransformMismatchError: The transform does not fit the leaves.
    """
    stages = (*stage_specs(tie.transform.steps, sources), *sources)
    if not all(map(can_vary, stages)):
        return None
    steps = tuple(
        step
        for step, before, after in zip(tie.transform.steps, stages, stages[1:], strict=False)
        if not isinstance(step, Cast) or before.dtype.kind != after.dtype.kind
    )
    wide = tuple(LeafSpec(spec.shape, _WIDE[spec.dtype.kind]) for spec in sources)
    return WideTie(tie, Transform(steps), wide)


def measure_rounding(tie: WideTie, stored: Sequence[NDArray[Any]], alias: NDArray[Any], xp: ModuleType) -> Any:
    """Measures what the arithmetic of the stored dtypes adds to a tie in float64.

    Args:
        tie: The tie.
        stored: The canonical leaves as they are stored.
        alias: What the transform makes of them as they are stored.
        xp: `jax.numpy`.

    Returns:
        An array of the alias's shape; None where there is no rounding.
    """
    if tie.tie.transform.is_structural:
        return None
    linear = tie.make([xp.asarray(widen_leaf(array)) for array in stored], xp)
    rounded = xp.asarray(alias.astype(linear.dtype))
    # Equal infinities have no difference.
    rounding = xp.where(rounded == linear, 0, rounded - linear)
    return rounding if bool((rounding != 0).any()) else None
