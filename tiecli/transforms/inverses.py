"""Inverses: the steps that give an input back bit for bit, where there are such steps."""

from __future__ import annotations

from math import prod
from typing import assert_never

from tiecli.leaves import LeafSpec
from tiecli.transforms.exactness import holds_every_value
from tiecli.transforms.shapes import resolve_items, resolve_lengths, resolve_range
from tiecli.transforms.steps import (
    FULL,
    Cast,
    Concat,
    Conjugate,
    Flip,
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


def inverse_steps(step: Step, source: LeafSpec) -> tuple[Step, ...] | None:  # noqa: PLR0911  # one case a step
    """Finds the steps that undo one step exactly.

    Args:
        step: A step that fits `source`.
        source: What the step is applied to.

    Returns:
        The steps, or None where the step loses bits or joins several sources.
    """
    match step:
        case Permute(axes):
            return (Permute(tuple(axes.index(axis) for axis in range(len(axes)))),)
        case Rearrange():
            return (_inverse_pattern(step, source.shape),)
        case Reshape():
            return (Reshape(source.shape),)
        case Flip() | Negate() | Conjugate():
            return (step,)
        case Pad(axis, before, _):
            length = source.shape[axis]
            return (_slice_axis(axis, Range(before, before + length), len(source.shape)),)
        case Repeat(axis, count):
            return (_slice_axis(axis, Range(step=count), len(source.shape)),)
        case Slice():
            return _inverse_slice(step, source.shape)
        case Cast(dtype):
            # No step takes a complex leaf back to its real part.
            if source.dtype != dtype and "complex" in (dtype.kind, source.dtype.kind):
                return None
            return (Cast(source.dtype),) if holds_every_value(dtype, source.dtype) else None
        case Scale() | Concat() | Stack():
            return None
        case _:
            assert_never(step)


def _slice_axis(axis: int, item: Item, rank: int) -> Slice:
    return Slice((*[FULL] * (axis % rank), item))


def _inverse_slice(step: Slice, shape: tuple[int, ...]) -> tuple[Step, ...] | None:
    if prod(shape) == 0:
        return (Reshape(shape),)
    flips: list[Step] = []
    for axis, (item, length) in enumerate(zip(resolve_items(step, len(shape)) or (), shape, strict=True)):
        layers = resolve_range(item, length) if isinstance(item, Range) else range(1)
        if layers is None or len(layers) != length:
            return None
        if layers.step < 0 and length > 1:
            flips.append(Flip(axis))
    return (Reshape(shape), *flips)


def _inverse_pattern(step: Rearrange, shape: tuple[int, ...]) -> Step:
    lengths = resolve_lengths(step, shape)
    if lengths is None or 0 in lengths:
        return Reshape(shape)
    order = [axis for group in step.right for axis in group]
    number = {axis: position for position, axis in enumerate(order)}
    grouped = {axis for group in step.right if len(group) > 1 for axis in group}
    return Rearrange(
        tuple(tuple(number[axis] for axis in group) for group in step.right),
        tuple(tuple(number[axis] for axis in group) for group in step.left),
        tuple(lengths[axis] if axis in grouped else None for axis in order),
    )
