"""Routes: where a tile of a stored leaf goes when a transform makes an alias of it.

A tile is a box, and most steps take boxes to boxes, so that gradients can be computed tile
by tile whatever the size of the leaf. What a tile must look like for that is worked out
first; a transform for which no tile would do is computed on whole leaves instead.

A tile may reach beyond the edge of its leaf, as the last one of a row of equal tiles does;
so may its image. Which elements are really there is a box of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tiecli.boxes import Box
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.exactness import holds_every_value
from tiecli.transforms.shapes import resolve_lengths, round_factor, stage_specs
from tiecli.transforms.steps import Cast, Concat, Permute, Rearrange, Reshape, Scale, Stack, Step
from tiecli.verification.hops import Demand, Hop, clip


@dataclass(frozen=True, slots=True)
class Route:
    """How one stored leaf goes into one alias.

    Attributes:
        tie: The tie.
        position: Which of the tie's stored leaves this is.
        source: Its spec.
        result: The alias's spec.
        hops: The steps in between.
        rounds: Whether values may be rounded on the way.
        factor: What elements are multiplied by, in absolute value.
    """

    tie: Tie
    position: int
    source: LeafSpec
    result: LeafSpec
    hops: tuple[Hop, ...]
    rounds: bool
    factor: float

    @property
    def path(self) -> KeyPath:
        """The leaf."""
        return self.tie.canonicals[self.position]

    def image(self, box: Box) -> Box:
        """Gives the box of the alias that a box of the leaf becomes, however far either reaches beyond the edge.

        Raises:
            NotABoxError: It becomes no box.
        """
        for hop in self.hops:
            box = hop.image(box)
        return box

    def extent(self, box: Box) -> Box | None:
        """Gives what of the image is really there; None if nothing is.

        Raises:
            NotABoxError: It is no box.
        """
        found = clip(box, self.source.shape)
        for hop in self.hops:
            if found is None or not hop.takes(found):
                return None
            found = clip(hop.image(found), hop.after)
        return found

    def demands(self) -> tuple[Demand, ...]:
        """Works out what a tile of the leaf must look like, axis by axis."""
        demands: tuple[Demand, ...] = (Demand(),) * len(self.result.shape)
        for hop in reversed(self.hops):
            demands = hop.demands(demands)
        return demands

    def local_steps(self, box: Box) -> tuple[Step, ...]:
        """Gives the steps that make the image of a tile of the tile alone; the same for all tiles of a grid."""
        steps: list[Step] = []
        for hop in self.hops:
            step = hop.local(box)
            steps += [] if step is None else [step]
            box = hop.image(box)
        return tuple(steps)


def find_route(tie: Tie, position: int, specs: Mapping[KeyPath, LeafSpec]) -> Route:
    """Works out how a leaf goes into an alias.

    Args:
        tie: The tie.
        position: Which of its leaves.
        specs: Of the stored leaves.

    Raises:
        TransformMismatchError: The transform does not fit.
    """
    sources = [specs[path] for path in tie.canonicals]
    steps = exact_steps(tie.transform, sources)
    stages = stage_specs(steps, sources)
    hops: list[Hop] = []
    rounds, factor = False, 1.0
    for step, stage, after in zip(steps, stages, stages[1:], strict=False):
        before = sources[position] if isinstance(step, Concat | Stack) else stage
        if isinstance(step, Scale):
            rounds, factor = True, factor * abs(step.factor)
        if isinstance(step, Cast):
            rounds = rounds or not holds_every_value(after.dtype, before.dtype)
        hops += _hops(step, before.shape, after.shape, _place(step, position, sources))
    return Route(tie, position, sources[position], stages[-1], tuple(hops), rounds, factor)


def exact_steps(transform: Transform, sources: Sequence[LeafSpec]) -> tuple[Step, ...]:
    """Gives the steps with every scale as it is applied, rounded to the precision of the leaf."""
    stages = stage_specs(transform.steps, sources)
    return tuple(
        Scale(round_factor(step.factor, stage.dtype) or step.factor) if isinstance(step, Scale) else step
        for step, stage in zip(transform.steps, stages, strict=False)
    )


def _place(step: Step, position: int, sources: Sequence[LeafSpec]) -> int:
    if isinstance(step, Concat):
        return sum(source.shape[step.axis] for source in sources[:position])
    return position


def _hops(step: Step, before: tuple[int, ...], after: tuple[int, ...], place: int) -> list[Hop]:
    if not isinstance(step, Rearrange):
        return [Hop(step, before, after, place)]
    lengths = resolve_lengths(step, before) or ()
    order = tuple(axis for group in step.right for axis in group)
    moved = tuple(lengths[axis] for axis in order)
    return [
        Hop(Reshape(lengths), before, lengths),
        Hop(Permute(order), lengths, moved),
        Hop(Reshape(after), moved, after),
    ]
