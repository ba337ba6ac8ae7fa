"""Adjoints: the transposed linear map of each step, written apart from the forward one.

For real `x` and `y`, `<T x, y> = <x, T' y>`; for complex ones the real part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, assert_never

import numpy as np

from tiecli.errors import TransformMismatchError
from tiecli.leaves import DTYPES, LeafSpec, find_dtype
from tiecli.transforms.elementwise import apply_elementwise
from tiecli.transforms.grammar import format_step
from tiecli.transforms.patterns import axis_name, format_side
from tiecli.transforms.pipeline import Transform
from tiecli.transforms.shapes import resolve_items, resolve_lengths, stage_specs
from tiecli.transforms.steps import (
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Joining,
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


def adjoint(transform: Transform, cotangent: Any, sources: Sequence[LeafSpec], xp: ModuleType = np) -> tuple[Any, ...]:
    """Pulls a cotangent of the result back to the sources.

    Args:
        transform: The pipe.
        cotangent: Of the result's shape; of its dtype, or of a wider float dtype, which it
            then keeps up to the first cast.
        sources: What the transform is applied to.
        xp: The namespace of the cotangent: `numpy`, or `jax.numpy`.

    Returns:
        One array a source, of its shape.

    Raises:
        TransformMismatchError: A step does not fit, or has no adjoint: a cast from or to
            integers.
    """
    specs = stage_specs(transform.steps, sources)
    cotangent = xp.asarray(cotangent)
    if tuple(cotangent.shape) != specs[-1].shape:
        raise TransformMismatchError(
            f"a cotangent of shape {tuple(cotangent.shape)} does not fit the result, {specs[-1]}"
        )
    joining = transform.steps[0] if transform.takes_many else None
    for position in range(len(transform.steps) - 1, -1 if joining is None else 0, -1):
        cotangent = _pull_back(transform.steps[position], cotangent, specs[position], xp)
    if isinstance(joining, Concat | Stack):
        return _part(joining, cotangent, sources)
    return (cotangent,)


def _pull_back(step: Step, cotangent: Any, source: LeafSpec, xp: ModuleType) -> Any:  # noqa: PLR0911  # one case a step
    rank = len(source.shape)
    match step:
        case Permute(axes):
            return xp.transpose(cotangent, sorted(range(rank), key=axes.__getitem__))
        case Rearrange():
            return _arrange_back(step, cotangent, source.shape)
        case Reshape():
            return cotangent.reshape(source.shape)
        case Slice():
            return _scatter(step, cotangent, source.shape, xp)
        case Flip(axis):
            return cotangent[_along(axis, rank, slice(None, None, -1))]
        case Pad(axis, before, _):
            return cotangent[_along(axis, rank, slice(before, before + source.shape[axis]))]
        case Repeat(axis, count):
            at = axis % rank
            copies = cotangent.reshape((*source.shape[: at + 1], count, *source.shape[at + 1 :]))
            return _sum_copies(copies, at + 1, xp)
        case Scale() | Negate() | Conjugate():
            # Real factors and conjugation are their own adjoints.
            dtype = find_dtype(cotangent.dtype.name) or source.dtype
            return apply_elementwise(step, cotangent, dtype, xp)
        case Cast():
            return _cast_back(step, cotangent, source, xp)
        case Concat() | Stack():
            raise TransformMismatchError(f"`{format_step(step)}` is not the first step")
        case _:
            assert_never(step)


def _along(axis: int, rank: int, part: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * (axis % rank), part)


def _arrange_back(step: Rearrange, cotangent: Any, shape: tuple[int, ...]) -> Any:
    lengths = resolve_lengths(step, shape) or ()
    if 0 in shape:
        return cotangent.reshape(shape)
    import einops

    pattern = f"{format_side(step.right)} -> {format_side(step.left)}"
    return einops.rearrange(cotangent, pattern, **{axis_name(axis): size for axis, size in enumerate(lengths)})


def _scatter(step: Slice, cotangent: Any, shape: tuple[int, ...], xp: ModuleType) -> Any:
    items = resolve_items(step, len(shape)) or ()
    index = tuple(item.at if isinstance(item, Index) else slice(item.start, item.stop, item.step) for item in items)
    result = xp.zeros(shape, cotangent.dtype)
    if xp is not np:
        return result.at[index].set(cotangent)
    result[index] = cotangent
    return result


def _sum_copies(copies: Any, axis: int, xp: ModuleType) -> Any:
    dtype = copies.dtype
    # Narrow floats are summed in float32 and rounded once, as they are scaled.
    is_narrow = dtype.itemsize < 4 and (spec := find_dtype(dtype.name)) is not None and spec.kind == "float"
    wide = copies.astype("float32") if is_narrow else copies
    return xp.sum(wide, axis=axis, dtype=wide.dtype).astype(dtype)


def _cast_back(step: Cast, cotangent: Any, source: LeafSpec, xp: ModuleType) -> Any:
    if source.dtype == step.dtype:
        return cotangent
    if {source.dtype.kind, step.dtype.kind} & {"integer", "bool"}:
        raise TransformMismatchError(
            f"`{format_step(step)}` from {source} has no adjoint, since integers have no gradient"
        )
    found = find_dtype(cotangent.dtype.name) or step.dtype
    if found.kind == "complex" and source.dtype.kind != "complex":
        cotangent, found = xp.real(cotangent), DTYPES["F32"]
    return apply_elementwise(Cast(source.dtype), cotangent, found, xp)


def _part(step: Joining, cotangent: Any, sources: Sequence[LeafSpec]) -> tuple[Any, ...]:
    rank = cotangent.ndim
    if isinstance(step, Stack):
        lead = (slice(None),) * (step.axis % rank)
        return tuple(cotangent[(*lead, position, ...)] for position in range(len(sources)))
    parts: list[Any] = []
    start = 0
    for source in sources:
        stop = start + source.shape[step.axis]
        parts.append(cotangent[_along(step.axis, rank, slice(start, stop))])
        start = stop
    return tuple(parts)
