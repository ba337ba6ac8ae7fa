"""Casts: conversion between dtypes on numpy arrays, the same bits on every machine.

numpy and ml_dtypes leave three things open, which are settled here: conversion from 64 to
16 or 8 bits rounds once, though ml_dtypes would go by float32 and round twice; what no
integer can hold becomes the nearest one, and NaN zero; a NaN keeps its sign and the leading
bits of its payload, so that widening can be undone.
"""

from __future__ import annotations

from typing import Any, cast

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tiecli.leaves import DType
from tiecli.transforms.exactness import FLOAT_FORMATS, integer_bounds

Array = NDArray[Any]


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """Finds what numpy holds elements of a dtype in."""
    return np.dtype(getattr(ml_dtypes, dtype.numpy_name, dtype.numpy_name))


def to_numpy(array: Any) -> Array:
    """Gives the elements of any array as this machine holds numbers, wherever they are."""
    found = np.asarray(array)
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def bits_of(array: Array) -> Array:
    """Views elements as unsigned integers of their size, so that moving them changes no bit."""
    return array.view(f"u{array.dtype.itemsize}")


def cast_array(array: Array, source: DType, target: DType) -> Array:
    """Converts every element, to nearest even where the new dtype is too narrow.

    Args:
        array: Elements of `source`.
        source: Their dtype.
        target: The new one; complex if `source` is.
    """
    if source == target:
        return array
    with np.errstate(all="ignore"):
        if target.kind == "complex":
            result = np.zeros(array.shape, np.complex64)
            result.real = _cast_real(array, source, _FLOAT32)
            return result
        return _cast_real(array, source, target)


_FLOAT32 = DType("F32", "float32", 32, "float")


def _cast_real(array: Array, source: DType, target: DType) -> Array:
    if source == target:
        return array
    if target.kind == "bool":
        return cast(Array, _widen(array, source) != 0)
    if source.kind == "float":
        if target.kind == "integer":
            return _float_to_integer(array, source, target)
        return _float_to_float(array, source, target)
    if target.kind == "float" and target.numpy_name not in ("float64", "float32"):
        array = _round_to_odd(_integer_to_double(array) if source.bits == 64 else array.astype(np.float64))
    return array.astype(numpy_dtype(target))


def _widen(array: Array, source: DType) -> Array:
    return array.astype(np.float64) if source.kind == "float" else array


def _float_to_integer(array: Array, source: DType, target: DType) -> Array:
    values = np.trunc(_widen(array, source))
    low, high = integer_bounds(target)
    # `high + 1` is a power of two, which float64 holds where it may not hold `high`.
    inside = (values >= low) & (values < high + 1)
    result = np.where(inside, values, 0).astype(numpy_dtype(target))
    result[values < low] = low
    result[values >= high + 1] = high
    return result


def _float_to_float(array: Array, source: DType, target: DType) -> Array:
    # ml_dtypes does not convert between all of its formats; float32 holds the values of each.
    values = array.astype(np.float32) if source.bits < 32 else array
    if source.bits == 64 and target.numpy_name not in ("float32", "float16"):
        values = _round_to_odd(array)
    result = values.astype(numpy_dtype(target), copy=values is array)
    nans = np.isnan(values)
    if nans.any():
        bits_of(result)[nans] = _nan_bits(bits_of(array)[nans].astype(np.uint64), source, target)
    return result


def _nan_bits(bits: Array, source: DType, target: DType) -> Array:
    """Carries NaNs over: sign and leading payload bits, where the new format has them."""
    into = FLOAT_FORMATS[target.name]
    has_sign = FLOAT_FORMATS[source.name].has_negative_zero
    sign = (bits >> np.uint64(source.bits - 1)) << np.uint64(target.bits - 1) if has_sign else bits * np.uint64(0)
    if not into.is_ieee:
        only = {"F8_E4M3": 0x7F, "F8_E8M0": 0xFF}.get(target.name, 0x80)
        return cast(Array, np.uint64(only) | sign if into.has_negative_zero else sign * np.uint64(0) + np.uint64(only))
    width, source_width = into.digits - 1, FLOAT_FORMATS[source.name].digits - 1
    quiet = np.uint64(1 << (width - 1))
    if FLOAT_FORMATS[source.name].is_ieee:
        payload = bits & np.uint64((1 << source_width) - 1)
        shift = width - source_width
        payload = payload << np.uint64(shift) if shift >= 0 else payload >> np.uint64(-shift)
        payload = np.where(payload == 0, quiet, payload)
    else:
        payload = np.full_like(bits, quiet)
    infinity = ((1 << (target.bits - 1 - width)) - 1) << width
    return cast(Array, sign | np.uint64(infinity) | payload)


def _round_to_odd(values: Array) -> Array:
    """Converts float64 to float32 so that a second rounding gives what one would have.

    Source: S. Boldo and G. Melquiond, "When double rounding is odd", 2005.
    """
    single = values.astype(np.float32)
    back = single.astype(np.float64)
    bits = single.view(np.uint32)
    # Round towards zero, then mark what was cut off in the last bit. What overflowed steps
    # back to the largest float32; a NaN stays one.
    bits -= (np.abs(back) > np.abs(values)).view(np.uint8)
    bits |= (back != values).view(np.uint8)
    return single


def _integer_to_double(array: Array) -> Array:
    """Converts 64-bit integers to float64, rounding to odd."""
    negative = array < 0
    magnitude = np.where(negative, ~array.view(np.uint64) + np.uint64(1), array.view(np.uint64))
    low = magnitude & np.uint64(0x7FF)
    kept = (magnitude - low) | ((low != 0).astype(np.uint64) << np.uint64(11))
    value = np.where(magnitude < np.uint64(2**53), magnitude, kept).astype(np.float64)
    return np.where(negative, -value, value)
