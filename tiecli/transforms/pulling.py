"""Pulling back: adjoints as transforms themselves, so that they can be carried out block by block.

What an optimizer keeps of gradients moves against the tie: what an alias gathered goes back
to its canonical leaf by the adjoint, that of squares by the adjoint of the squared map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from tiecli.leaves import DType, LeafSpec
from tiecli.transforms.inverses import inverse_steps
from tiecli.transforms.pipeline import Transform
from tiecli.transforms.shapes import resolve_items, resolve_range, stage_specs
from tiecli.transforms.steps import (
    FULL,
    MAX_STEPS,
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Joining,
    Negate,
    Pad,
    Range,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
    Structural,
)

_MOST_TERMS = 64
"""An adjoint of more terms than this is computed whole: each term reads the leaf once."""


class PullBack(NamedTuple):
    """A term of an adjoint, in two parts: elements are moved, then all of them are multiplied.

    Attributes:
        transform: What moves them; it changes no value.
        factor: What they are multiplied by.
        conjugates: Whether they are conjugated, too.
    """

    transform: Transform
    factor: float = 1.0
    conjugates: bool = False


def find_slot_transform(
    transform: Transform, dtypes: tuple[DType, DType], of: Literal["gradients", "squares", "sizes"] = "gradients"
) -> Transform:
    """Finds how what is kept of an alias's gradients follows from what is kept of its canonical leaf's.

    That is the transform itself without its rounding; for squares and for absolute values, with such factors.

    Args:
        transform: How the alias follows from its leaf.
        dtypes: Of what is kept of the leaf, and of what is kept of the alias.
        of: What is kept: sums of gradients, of their squares, or absolute values.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> half = Transform.parse("transpose | scale(0.5) | neg | cast(bf16)")
        >>> print(find_slot_transform(half, (DTYPES["F32"], DTYPES["F32"]), "squares"))
        transpose | scale(0x1p-2)
    """
    steps: list[Step] = []
    for step in transform.steps:
        match step:
            case Cast():
                continue
            case Scale(factor) if of != "gradients":
                steps.append(Scale(factor * factor if of == "squares" else abs(factor)))
            case Negate() | Conjugate() if of != "gradients":
                continue
            case _:
                steps.append(step)
    if dtypes[0] != dtypes[1]:
        steps.append(Cast(dtypes[1]))
    return Transform(tuple(steps))


def find_pull_backs(transform: Transform, sources: Sequence[LeafSpec], part: int = 0) -> tuple[PullBack, ...] | None:
    """Finds the adjoint of a transform as moves and factors.

    Args:
        transform: How an alias follows from its leaves.
        sources: Those.
        part: Which of them is meant.

    Returns:
        Terms whose sum is the adjoint; None where moves cannot give it, or only very many.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> print(*find_pull_backs(Transform.parse("[1:3] | scale(3)"), [LeafSpec((5,), DTYPES["F32"])]))
        PullBack(transform=Transform(steps=(Pad(axis=0, before=1, after=2),)), factor=3.0, conjugates=False)
    """
    specs = stage_specs(transform.steps, sources)
    terms: list[tuple[Step, ...]] = [()]
    factor, conjugates = 1.0, False
    for step, spec in reversed(list(zip(transform.steps, specs, strict=False))):
        match step:
            case Scale(by):
                factor *= by
            case Negate():
                factor = -factor
            case Conjugate():
                conjugates = not conjugates
            case Cast():
                continue
            case Concat() | Stack():
                terms = [(*term, *_cut_part(step, sources, part)) for term in terms]
            case _:
                moves = _move_back(step, spec)
                if moves is None or len(terms) * len(moves) > _MOST_TERMS:
                    return None
                terms = [(*term, *move) for term in terms for move in moves]
    if max(map(len, terms)) > MAX_STEPS:
        return None
    return tuple(PullBack(Transform(term), factor, conjugates) for term in terms)


def _move_back(step: Structural, source: LeafSpec) -> list[Sequence[Step]] | None:
    """Gives the steps that move elements back, once for each copy that a step makes."""
    match step:
        case Slice():
            padded = _pad_back(step, source.shape)
            return None if padded is None else [padded]
        case Repeat(axis, count) if source.size:
            before = (FULL,) * (axis % len(source.shape))
            return [(Slice((*before, Range(copy, None, count))),) for copy in range(count)]
        case Repeat():
            return [(Reshape(source.shape),)]
        case _:
            undone = inverse_steps(step, source)
            return None if undone is None else [undone]


def _cut_part(step: Joining, sources: Sequence[LeafSpec], part: int) -> tuple[Step, ...]:
    """Cuts out what one of several joined leaves gave."""
    rank = len(sources[0].shape)
    if isinstance(step, Stack):
        return (Slice((*(FULL,) * (step.axis % (rank + 1)), Index(part))),)
    axis = step.axis % rank
    start = sum(source.shape[axis] for source in sources[:part])
    return (Slice((*(FULL,) * axis, Range(start, start + sources[part].shape[axis]))),)


def _pad_back(step: Slice, shape: tuple[int, ...]) -> Sequence[Step] | None:
    """Puts zeros where a slice left layers out; None where it took every other layer."""
    items = resolve_items(step, len(shape)) or ()
    kept: list[int] = []
    rest: list[Step] = []
    loses_axes = any(isinstance(item, Index) for item in items)
    for axis, (item, length) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, Index):
            at = item.at % length
            kept.append(1)
            rest += _pad(axis, at, length - at - 1)
            continue
        layers = resolve_range(item, length)
        if layers is None or (len(layers) > 1 and abs(layers.step) != 1):
            return None
        kept.append(len(layers))
        if layers.step < 0 and len(layers) > 1:
            rest.append(Flip(axis))
        first = min(layers, default=0)
        rest += _pad(axis, first, length - first - len(layers))
    return (Reshape(tuple(kept)), *rest) if loses_axes else tuple(rest)


def _pad(axis: int, before: int, after: int) -> Iterator[Step]:
    if before or after:
        yield Pad(axis, before, after)
