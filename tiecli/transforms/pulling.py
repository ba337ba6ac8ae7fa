"""Pulling back: adjoints as transforms themselves, so that they can be carried out block by block.

What an optimizer keeps of gradients moves against the tie: what an alias gathered goes back
to its canonical leaf by the adjoint, that of squares by the adjoint of the squared map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tiecli.leaves import DType, LeafSpec
from tiecli.transforms.inverses import inverse_steps
from tiecli.transforms.pipeline import Transform
from tiecli.transforms.shapes import resolve_items, resolve_range, stage_specs
from tiecli.transforms.steps import (
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Negate,
    Pad,
    Permute,
    Rearrange,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
)


class PullBack(NamedTuple):
    """An adjoint in two parts: elements are moved, then all of them are multiplied.

    Attributes:
        transform: What moves them; it changes no value.
        factor: What they are multiplied by.
        conjugates: Whether they are conjugated, too.
    """

    transform: Transform
    factor: float = 1.0
    conjugates: bool = False


def find_slot_transform(transform: Transform, dtypes: tuple[DType, DType], *, squared: bool = False) -> Transform:
    """Finds how what is kept of an alias's gradients follows from what is kept of its canonical leaf's.

    That is the transform itself without its rounding; for squares, with squared factors.

    Args:
        transform: How the alias follows from its leaf.
        dtypes: Of what is kept of the leaf, and of what is kept of the alias.
        squared: Whether squares are kept.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> half = Transform.parse("transpose | scale(0.5) | neg | cast(bf16)")
        >>> print(find_slot_transform(half, (DTYPES["F32"], DTYPES["F32"]), squared=True))
        transpose | scale(0x1p-2)
    """
    steps: list[Step] = []
    for step in transform.steps:
        match step:
            case Cast():
                continue
            case Scale(factor) if squared:
                steps.append(Scale(factor * factor))
            case Negate() | Conjugate() if squared:
                continue
            case _:
                steps.append(step)
    if dtypes[0] != dtypes[1]:
        steps.append(Cast(dtypes[1]))
    return Transform(tuple(steps))


def find_pull_back(transform: Transform, source: LeafSpec) -> PullBack | None:
    """Finds the adjoint of a transform of one leaf as moves and a factor.

    Args:
        transform: How an alias follows from the leaf.
        source: The leaf.

    Returns:
        The adjoint; None where elements are summed, which no move does.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> print(find_pull_back(Transform.parse("[1:3] | scale(3)"), LeafSpec((5,), DTYPES["F32"])))
        PullBack(transform=Transform(steps=(Pad(axis=0, before=1, after=2),)), factor=3.0, conjugates=False)
    """
    specs = stage_specs(transform.steps, [source])
    steps: list[Step] = []
    factor, conjugates = 1.0, False
    for step, spec in reversed(list(zip(transform.steps, specs, strict=False))):
        match step:
            case Permute() | Rearrange() | Reshape() | Flip() | Pad():
                steps += inverse_steps(step, spec) or ()
            case Slice():
                padded = _pad_back(step, spec.shape)
                if padded is None:
                    return None
                steps += padded
            case Scale(by):
                factor *= by
            case Negate():
                factor = -factor
            case Conjugate():
                conjugates = not conjugates
            case Cast():
                continue
            case Repeat() | Concat() | Stack():
                return None
    return PullBack(Transform(tuple(steps)), factor, conjugates)


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
