"""Arrays: transforms carried out on numpy arrays, and on `jax.numpy` ones inside `jit` and `grad`.

On numpy, structural steps move bits, NaN payloads and negative zeros included. On another
namespace they move values, and casts are those of that namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, assert_never

import numpy as np

from tiecli.errors import TransformMismatchError
from tiecli.leaves import LeafSpec, find_dtype
from tiecli.transforms.adjoints import adjoint
from tiecli.transforms.casts import bits_of
from tiecli.transforms.elementwise import apply_elementwise
from tiecli.transforms.patterns import axis_name, format_sides
from tiecli.transforms.pipeline import Transform
from tiecli.transforms.shapes import stage_specs
from tiecli.transforms.steps import (
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Item,
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
    Structural,
)

__all__ = ["adjoint", "apply_step", "array_spec", "forward"]


def forward(transform: Transform, arrays: Sequence[Any], xp: ModuleType = np) -> Any:
    """Applies a transform.

    Args:
        transform: The pipe.
        arrays: One, or as many as `concat` or `stack` join, in order.
        xp: Their namespace: `numpy`, or `jax.numpy`.

    Returns:
        An array of the shape and dtype that `Transform.spec` says; it may share memory
        with its source.

    Raises:
        TransformMismatchError: A step does not fit.

    Example:
        >>> forward(Transform.parse("[:, :2] | transpose"), [np.arange(6).reshape(2, 3)]).tolist()
        [[0, 3], [1, 4]]
    """
    if transform.is_same and len(arrays) == 1:
        return arrays[0]
    arrays = [xp.asarray(array) for array in arrays]
    specs = stage_specs(transform.steps, [array_spec(array) for array in arrays])
    for step, spec in zip(transform.steps, specs, strict=False):
        arrays = [apply_step(step, arrays, spec, xp)]
    return arrays[0]


def array_spec(array: Any) -> LeafSpec:
    """Describes an array as a leaf.

    Raises:
        TransformMismatchError: No checkpoint can hold its dtype.
    """
    dtype = find_dtype(array.dtype.name)
    if dtype is None:
        raise TransformMismatchError(f"an array of dtype `{array.dtype.name}` is no leaf of a checkpoint")
    return LeafSpec(tuple(array.shape), dtype)


def apply_step(step: Step, arrays: Sequence[Any], source: LeafSpec, xp: ModuleType = np) -> Any:
    """Applies one step that is known to fit.

    Args:
        step: The step.
        arrays: One, but for `concat` and `stack`.
        source: What the first of them is.
        xp: Their namespace.
    """
    if isinstance(step, Scale | Negate | Cast | Conjugate):
        return apply_elementwise(step, arrays[0], source.dtype, xp)
    if xp is not np:
        return _move(step, arrays, xp)
    return _move(step, [bits_of(array) for array in arrays], xp).view(arrays[0].dtype)


def _move(step: Structural, arrays: Sequence[Any], xp: ModuleType) -> Any:  # noqa: PLR0911  # one case a step
    array = arrays[0]
    match step:
        case Permute(axes):
            return xp.transpose(array, axes)
        case Rearrange(_, _, sizes):
            # Start-up time: most transforms have no pattern.
            import einops

            known = {axis_name(axis): size for axis, size in enumerate(sizes) if size is not None}
            return einops.rearrange(array, format_sides(step), **known)
        case Slice(head, tail):
            return array[(*map(_index, head), ..., *map(_index, tail))]
        case Reshape(shape):
            return xp.reshape(array, shape)
        case Flip(axis):
            return xp.flip(array, axis)
        case Pad(axis, before, after):
            widths = [(0, 0)] * array.ndim
            widths[axis] = (before, after)
            return xp.pad(array, widths)
        case Repeat(axis, count):
            return xp.repeat(array, count, axis=axis)
        case Concat(axis):
            return xp.concatenate(arrays, axis=axis)
        case Stack(axis):
            return xp.stack(arrays, axis=axis)
        case _:
            assert_never(step)


def _index(item: Item) -> int | slice:
    return item.at if isinstance(item, Index) else slice(item.start, item.stop, item.step)
