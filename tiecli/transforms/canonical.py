"""Canonical form: equal transforms are made of equal steps, as far as the rank is known.

Element-wise steps move behind the structural ones, permutations behind the slices, flips,
paddings and repeats; what follows each other and can be one step becomes one. Axes are
counted from the first one wherever the pipe itself says how many there are.
"""

from __future__ import annotations

from dataclasses import replace
from math import frexp, prod

from tiecli.transforms.steps import (
    FULL,
    MAX_LENGTH,
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Item,
    Negate,
    Pad,
    Permute,
    Range,
    Rearrange,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
)

_LARGEST_FOLDED = 2.0**127
_REVERSED = Range(step=-1)


def canonical_steps(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Rewrites a pipe until no rule applies; the result means the same.

    Every rule merges steps or moves one nearer to its place, so that an end is reached.
    """
    while True:
        rewritten = _rewrite_once(_resolve_ranks(tuple(found for step in steps for found in _simplify(step))))
        if rewritten == steps:
            return steps
        steps = rewritten


def _rewrite_once(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    for position in range(len(steps) - 1):
        merged = _rewrite_pair(steps[position], steps[position + 1])
        if merged is not None:
            return (*steps[:position], *merged, *steps[position + 2 :])
    return steps


def _simplify(step: Step) -> tuple[Step, ...]:
    """Drops a step that does nothing, and writes one that is a plainer step as that."""
    match step:
        case Permute(axes) if axes == tuple(range(len(axes))):
            return ()
        case Rearrange(left, right, sizes) if not any(sizes) and all(len(group) == 1 for group in (*left, *right)):
            return (Permute(tuple(axis for group in right for axis in group)),)
        case Slice():
            return _simplify_slice(step)
        case Pad(_, 0, 0) | Repeat(_, 1) | Scale(1.0):
            return ()
        case Scale(-1.0):
            return (Negate(),)
        case _:
            return (step,)


def _simplify_slice(step: Slice) -> tuple[Step, ...]:
    head, tail = tuple(map(_simplify_item, step.head)), tuple(map(_simplify_item, step.tail))
    while head and head[-1] == FULL:
        head = head[:-1]
    while tail and tail[0] == FULL:
        tail = tail[1:]
    if all(item in (FULL, _REVERSED) for item in (*head, *tail)):
        axes = [*range(len(head)), *range(-len(tail), 0)]
        return tuple(Flip(axis) for axis, item in zip(axes, (*head, *tail), strict=True) if item == _REVERSED)
    return (Slice(head, tail),)


def _simplify_item(item: Item) -> Item:
    if isinstance(item, Range) and item.start == (0 if item.step > 0 else -1):
        return replace(item, start=None)
    return item


def _rewrite_pair(first: Step, then: Step) -> tuple[Step, ...] | None:  # noqa: PLR0911  # one case a rule
    """Gives what two neighbours become, or None where they stay as they are."""
    match first, then:
        case (
            (Scale() | Negate() | Cast() | Conjugate()),
            (Permute() | Rearrange() | Slice() | Reshape() | Flip() | Repeat()),
        ):
            return (then, first)
        case ((Scale() | Negate() | Conjugate()), (Scale() | Negate() | Conjugate())):
            return _rewrite_linear(first, then)
        case Cast(dtype), Cast(other) if dtype == other:
            return (first,)
        case Permute(axes), Permute(others) if len(axes) == len(others):
            return (Permute(tuple(axes[axis] for axis in others)),)
        case Permute(axes), (Flip(axis) | Pad(axis) | Repeat(axis)) if -len(axes) <= axis < len(axes):
            return (replace(then, axis=axes[axis]), first)
        case Permute(axes), Slice(head, tail) if len(head) + len(tail) <= len(axes):
            return _slice_before(axes, then)
        case Reshape(), Reshape():
            return _rewrite_reshapes(first, then)
        case (Flip(), Flip()) | (Pad(), Pad()) | (Repeat(), Repeat()):
            return _rewrite_axiswise(first, then)
        case _:
            return None


def _rewrite_linear(first: Scale | Negate | Conjugate, then: Scale | Negate | Conjugate) -> tuple[Step, ...] | None:
    match first, then:
        case (Negate(), Negate()) | (Conjugate(), Conjugate()):
            return ()
        case _, Conjugate():
            return (then, first)
        case (Scale(factor), Negate()) | (Negate(), Scale(factor)):
            return (Scale(-factor),)
        case Scale(factor), Scale(other) if _enlarges(factor) and _enlarges(other):
            # Only enlarging by powers of two never rounds; shrinking may, among the subnormals.
            return (Scale(factor * other),) if abs(factor * other) <= _LARGEST_FOLDED else None
        case _:
            return None


def _enlarges(factor: float) -> bool:
    return abs(factor) >= 1 and abs(frexp(factor)[0]) == 0.5


def _slice_before(axes: tuple[int, ...], step: Slice) -> tuple[Step, ...]:
    """Moves a slice in front of a permutation, which then acts on the axes that are left."""
    missing = len(axes) - len(step.head) - len(step.tail)
    items = (*step.head, *[FULL] * missing, *step.tail)
    moved: list[Item] = [FULL] * len(axes)
    for axis, item in zip(axes, items, strict=True):
        moved[axis] = item
    left = [axis for axis in range(len(axes)) if not isinstance(moved[axis], Index)]
    kept = [axis for axis in axes if axis in left]
    return (Slice(tuple(moved)), Permute(tuple(left.index(axis) for axis in kept)))


def _rewrite_reshapes(first: Reshape, then: Reshape) -> tuple[Step, ...] | None:
    known = prod(length for length in first.shape if length != -1)
    wanted = prod(length for length in then.shape if length != -1)
    if -1 not in then.shape:
        fits = known == wanted if -1 not in first.shape else known and wanted % known == 0
        return (then,) if fits else None
    if -1 in first.shape or not wanted or known % wanted or known // wanted >= MAX_LENGTH:
        return None
    return (Reshape(tuple(known // wanted if length == -1 else length for length in then.shape)),)


def _rewrite_axiswise(first: Step, then: Step) -> tuple[Step, ...] | None:
    match first, then:
        case Flip(axis), Flip(other) if axis == other:
            return ()
        case Pad(axis, before, after), Pad(other, more_before, more_after) if axis == other:
            before, after = before + more_before, after + more_after
            return (Pad(axis, before, after),) if max(before, after) < MAX_LENGTH else None
        case Repeat(axis, count), Repeat(other, more) if axis == other:
            return (Repeat(axis, count * more),) if count * more < MAX_LENGTH else None
        case (Flip(axis), Flip(other)) | (Pad(axis), Pad(other)) | (Repeat(axis), Repeat(other)):
            # Steps of one kind along two axes commute, even where both turn out to be the same axis.
            return (then, first) if (other < 0, other) < (axis < 0, axis) else None
        case _:
            return None


def _resolve_ranks(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Counts axes from the first one wherever the pipe says how many there are."""
    ranks: list[int | None] = [None] * (len(steps) + 1)
    for position, step in enumerate(steps):
        before, after = _own_ranks(step)
        ranks[position] = ranks[position] if before is None else before
        ranks[position + 1] = after if after is not None else _shifted(ranks[position], step, 1)
    for position in range(len(steps) - 1, -1, -1):
        if ranks[position] is None:
            ranks[position] = _shifted(ranks[position + 1], steps[position], -1)
    return tuple(_resolve(step, *ranks[position : position + 2]) for position, step in enumerate(steps))


def _own_ranks(step: Step) -> tuple[int | None, int | None]:
    match step:
        case Permute(axes):
            return len(axes), len(axes)
        case Rearrange(left, right):
            return len(left), len(right)
        case Reshape(shape):
            return None, len(shape)
        case _:
            return None, None


def _shifted(rank: int | None, step: Step, direction: int) -> int | None:
    if rank is None or isinstance(step, Reshape):
        return None
    change = 0
    if isinstance(step, Slice):
        change = -sum(isinstance(item, Index) for item in (*step.head, *step.tail))
    elif isinstance(step, Stack):
        change = 1
    return rank + direction * change


def _resolve(step: Step, before: int | None, after: int | None) -> Step:
    match step:
        case Slice(head, tail) if tail and before is not None and before >= len(head) + len(tail):
            return Slice((*head, *[FULL] * (before - len(head) - len(tail)), *tail))
        case Flip(axis) | Pad(axis) | Repeat(axis) | Concat(axis) | Stack(axis):
            rank = after if isinstance(step, Stack) else before
            return replace(step, axis=axis + rank) if rank is not None and -rank <= axis < 0 else step
        case _:
            return step
