"""Transforms: pipes of steps, each of which says what it gives, what it loses, how it is undone.

The steps and their rules are imported when a transform has steps: most checkpoints only have
`same` ties, and need none of it to start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from tiecli.errors import TransformMismatchError, TransformSyntaxError
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    from tiecli.transforms.exactness import Exactness
    from tiecli.transforms.steps import Step


@dataclass(frozen=True, slots=True)
class Transform:
    """How an alias follows from its canonical leaf: a pipe of steps.

    Equal transforms compare and print equal, as far as that can be said without knowing
    the rank of the leaf.

    Attributes:
        steps: In canonical form, first one first; `()` is `same`.

    Example:
        >>> str(Transform.parse("'v d -> d v' | scale(1/8)"))
        'transpose | scale(0x1p-3)'
        >>> Transform.parse("transpose | transpose").is_same
        True
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            return
        from tiecli.transforms.canonical import canonical_steps
        from tiecli.transforms.steps import MAX_STEPS, Concat, Stack

        steps = canonical_steps(self.steps)
        if len(steps) > MAX_STEPS:
            raise TransformSyntaxError(f"a transform of {len(steps)} steps is too long, expected at most {MAX_STEPS}")
        if any(isinstance(step, Concat | Stack) for step in steps[1:]):
            raise TransformSyntaxError("`concat` and `stack` take several sources, so they stand first")
        object.__setattr__(self, "steps", steps)

    @classmethod
    def parse(cls, text: str) -> Transform:
        """Reads a transform from its text; nothing in it is evaluated.

        Raises:
            TransformSyntaxError: It is no transform; says where and what was expected.
        """
        if text == "same":
            return cls(())
        from tiecli.transforms.grammar import parse_steps

        return cls(parse_steps(text))

    def __str__(self) -> str:
        if not self.steps:
            return "same"
        from tiecli.transforms.grammar import format_steps

        return format_steps(self.steps)

    @property
    def is_same(self) -> bool:
        """Whether it leaves every leaf as it is."""
        return not self.steps

    @property
    def takes_many(self) -> bool:
        """Whether it joins several sources."""
        if not self.steps:
            return False
        from tiecli.transforms.steps import Concat, Stack

        return isinstance(self.steps[0], Concat | Stack)

    @property
    def is_structural(self) -> bool:
        """Whether it only moves, drops, repeats or zero-fills elements, without arithmetic."""
        if not self.steps:
            return True
        from tiecli.transforms.steps import Cast, Conjugate, Negate, Scale

        return not any(isinstance(step, Scale | Negate | Cast | Conjugate) for step in self.steps)

    @property
    def magnitude(self) -> float:
        """How many times as large values become, whichever sign they get.

        Example:
            >>> Transform.parse("transpose | scale(-0.5) | scale(8)").magnitude
            4.0
        """
        if not self.steps:
            return 1.0
        from tiecli.transforms.steps import Scale

        return math.prod(abs(step.factor) for step in self.steps if isinstance(step, Scale))

    def permutation(self, rank: int) -> tuple[int, ...] | None:
        """Gives the order of axes, where nothing happens but that a leaf of this rank is turned; else None.

        Example:
            >>> Transform.parse("transpose").permutation(2), Transform.parse("neg").permutation(2)
            ((1, 0), None)
        """
        if not self.steps:
            return tuple(range(rank))
        from tiecli.transforms.steps import Permute

        match self.steps:
            case (Permute(axes),) if len(axes) == rank:
                return axes
            case _:
                return None

    def spec(self, sources: Sequence[LeafSpec]) -> LeafSpec:
        """Works out the shape and dtype of the result.

        Args:
            sources: One, or as many as `concat` or `stack` join, in order.

        Raises:
            TransformMismatchError: A step does not fit; names the step, what it found and
                what it expected.
        """
        if not self.steps and len(sources) == 1:
            return sources[0]
        from tiecli.transforms.shapes import stage_specs

        return stage_specs(self.steps, sources)[-1]

    def exactness(self, sources: Sequence[LeafSpec]) -> Exactness:
        """Classes the pipe: as its worst step.

        Raises:
            TransformMismatchError: A step does not fit.
        """
        from tiecli.transforms.exactness import Exactness, step_exactness, worst
        from tiecli.transforms.shapes import stage_specs

        specs = stage_specs(self.steps, sources)
        first = [Exactness.BIJECTION] if self.takes_many else []
        singles = list(zip(self.steps, specs, specs[1:], strict=False))[len(first) :]
        return worst([*first, *(step_exactness(*single) for single in singles)])

    def inverse(self, sources: Sequence[LeafSpec]) -> Transform | None:
        """Finds the transform that gives the source back, bit for bit.

        Returns:
            The inverse, or None where bits are lost or several sources are joined.

        Raises:
            TransformMismatchError: A step does not fit.
        """
        from tiecli.transforms.inverses import inverse_steps
        from tiecli.transforms.shapes import stage_specs

        specs = stage_specs(self.steps, sources)
        steps: list[Step] = []
        for step, spec in reversed(list(zip(self.steps, specs, strict=False))):
            undone = inverse_steps(step, spec)
            if undone is None:
                return None
            steps.extend(undone)
        return Transform(tuple(steps))


SAME = Transform(())


def compose(first: Transform, then: Transform) -> Transform:
    """Pipes one transform into another.

    Raises:
        TransformMismatchError: The second one takes several sources.
        TransformSyntaxError: The pipe becomes too long.

    Example:
        >>> transpose = Transform.parse("transpose")
        >>> compose(transpose, transpose) == SAME
        True
    """
    if then.takes_many and not first.is_same:
        raise TransformMismatchError(
            f"`{then}` takes several sources, and cannot follow `{first}`",
            "Name the leaves themselves as its sources.",
        )
    return Transform(first.steps + then.steps)


def permutations_that_fit(source: LeafSpec, alias: LeafSpec) -> tuple[Transform, ...]:
    """Lists the axis permutations that take one shape to another, `same` among them.

    Permutations that only move axes of length 1 past others move no element, and are
    listed once, by the first of them. Above rank 4 only `same` is looked at.

    Returns:
        Distinct as maps; `same` first where it fits; none if the dtypes differ.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> square = LeafSpec((4, 4), DTYPES["F32"])
        >>> [str(transform) for transform in permutations_that_fit(square, square)]
        ['same', 'transpose']
    """
    rank = len(source.shape)
    if source.dtype != alias.dtype or len(alias.shape) != rank:
        return ()
    if rank > 4 or source.dtype.kind == "packed":
        return (SAME,) if source.shape == alias.shape else ()
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for axes in permutations(range(rank)):
        if tuple(source.shape[axis] for axis in axes) == alias.shape:
            moved = tuple(axis for axis in axes if source.shape[axis] != 1) if source.size > 1 else ()
            found.setdefault(moved, axes)
    return tuple(_permute(axes) for axes in found.values())


def _permute(axes: tuple[int, ...]) -> Transform:
    if axes == tuple(range(len(axes))):
        return SAME
    # Importing the steps takes longer than all the rest of a plain tie's planning.
    from tiecli.transforms.steps import Permute

    return Transform((Permute(axes),))
