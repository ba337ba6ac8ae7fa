"""Element-wise steps: the arithmetic on one array, in the leaf's own precision."""

from __future__ import annotations

from types import ModuleType
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from tiecli.errors import TransformMismatchError
from tiecli.leaves import DType
from tiecli.transforms.casts import bits_of, cast_array, numpy_dtype
from tiecli.transforms.exactness import FLOAT_FORMATS
from tiecli.transforms.shapes import round_factor
from tiecli.transforms.steps import Cast, Conjugate, Elementwise, Negate, Scale

Array = NDArray[Any]


def apply_elementwise(step: Elementwise, array: Any, dtype: DType, xp: ModuleType) -> Any:
    """Applies one element-wise step.

    Args:
        step: The step.
        array: Elements of `dtype`, any shape.
        dtype: What the elements are.
        xp: The namespace of the array: `numpy`, or `jax.numpy`.
    """
    if xp is not np:
        return _apply_elsewhere(step, array, dtype, xp)
    # numpy turns arrays without axes into scalars, which cannot be viewed or assigned to.
    row = np.atleast_1d(array)
    match step:
        case Scale(factor):
            result = scale_array(row, factor, dtype)
        case Negate():
            result = _negate(row, dtype)
        case Cast(target):
            result = cast_array(row, dtype, target)
        case Conjugate():
            result = _flip_bits(row, complex(0.0, -0.0)) if dtype.kind == "complex" else row
        case _:
            assert_never(step)
    return result.reshape(array.shape)


def scale_array(array: Array, factor: float, dtype: DType) -> Array:
    """Multiplies, rounding once to the leaf's dtype; narrow floats by way of float32."""
    rounded = np.float64(factor) if dtype.name == "F64" else np.float32(round_factor(factor, dtype) or 0.0)
    with np.errstate(all="ignore"):
        if dtype.kind == "complex":
            result = np.empty_like(array)
            # A complex product would turn infinities into NaN; the factor is real.
            result.real, result.imag = array.real * rounded, array.imag * rounded
            return result
        if dtype.name in ("F32", "F64"):
            return array * rounded
        return (array.astype(np.float32) * rounded).astype(numpy_dtype(dtype))


def _negate(array: Array, dtype: DType) -> Array:
    if dtype.kind == "complex":
        return _flip_bits(array, complex(-0.0, -0.0))
    bits = bits_of(array)
    sign = bits.dtype.type(1 << (dtype.bits - 1))
    flipped: Array = bits ^ sign
    if not FLOAT_FORMATS[dtype.name].has_negative_zero:
        # Here the sign bit alone is NaN, and zero has one sign only.
        flipped = np.where(bits & ~sign == 0, bits, flipped)
    return flipped.view(array.dtype)


def _flip_bits(array: Array, mask: complex) -> Array:
    flipped: Array = bits_of(array) ^ bits_of(np.array([mask], array.dtype))
    return flipped.view(array.dtype)


def _apply_elsewhere(step: Elementwise, array: Any, dtype: DType, xp: ModuleType) -> Any:
    match step:
        case Scale(factor):
            rounded = round_factor(factor, dtype)
            if dtype.name in ("F32", "F64", "C64"):
                return array * rounded
            return (array.astype("float32") * rounded).astype(array.dtype)
        case Negate():
            return -array
        case Cast(target):
            result = array.astype(numpy_dtype(target))
            if result.dtype != numpy_dtype(target):
                raise TransformMismatchError(
                    f"`cast({target})` gave {result.dtype} in `{xp.__name__}`, which runs without 64-bit dtypes",
                    "Set `JAX_ENABLE_X64=1`.",
                )
            return result
        case Conjugate():
            return xp.conj(array)
        case _:
            assert_never(step)
