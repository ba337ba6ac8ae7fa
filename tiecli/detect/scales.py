"""Scales: recovering the constant that one leaf was multiplied by to give another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import frexp, inf, isfinite, ldexp, nextafter, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.compare.differences import Bits, decode
from tiecli.leaves import DType

Interval = tuple[float, float]


def feasible_factors(canonical: Bits, alias: Bits, dtype: DType) -> Interval | None:
    """Bounds the factors that take every element to its counterpart, rounding included.

    Args:
        canonical: Bits of elements of the leaf that was multiplied.
        alias: Bits of their counterparts.
        dtype: Of both.

    Returns:
        The smallest and the largest factor; None when no factor does it. Elements that are
        zero, subnormal or not finite on either side do not count.
    """
    x, y = decode(canonical, dtype).astype(np.float64), decode(alias, dtype).astype(np.float64)
    tiny = _smallest_normal(dtype)
    with np.errstate(all="ignore"):
        usable = np.isfinite(x) & np.isfinite(y) & (np.abs(x) >= tiny) & (np.abs(y) >= tiny)
    if not usable.any():
        return None
    x, y, bits = x[usable], y[usable], alias[usable]
    negative = (x < 0) != (y < 0)
    if negative.any() != negative.all():
        return None
    one = bits.dtype.type(1)
    with np.errstate(all="ignore"):
        above = np.abs(decode(bits + one, dtype).astype(np.float64))
        below = np.abs(decode(bits - one, dtype).astype(np.float64))
        x, y = np.abs(x), np.abs(y)
        above[~np.isfinite(above)] = np.inf
        # float64 itself rounds the midpoints, so a little is added on either side.
        low = float(np.max((y / 2 + below / 2) / x)) * (1 - 2.0**-52)
        high = float(np.min((y / 2 + above / 2) / x)) * (1 + 2.0**-52)
    if not low <= high:
        return None
    return (-high, -low) if negative.all() else (low, high)


def likely_factors(bounds: Interval, lengths: Sequence[int], dtype: DType) -> Iterator[float]:
    """Lists factors within bounds: roots of the leaf's lengths, the one with the fewest digits, the nearest few.

    Args:
        bounds: As `feasible_factors` gives them.
        lengths: The leaf's shape: attention and embeddings are scaled by roots of these.
        dtype: Of the leaf; a model may have rounded its factor to it.
    """
    seen: set[float] = set()
    for factor in (*_roots(lengths, dtype), _plainest(*bounds), *_lowest(bounds[0])):
        if bounds[0] <= factor <= bounds[1] and factor not in seen:
            seen.add(factor)
            yield factor


def gives(factor: float, canonical: Bits, alias: Bits, dtype: DType) -> bool:
    """Whether a factor takes every element to its counterpart, bit for bit."""
    from tiecli.transforms.casts import numpy_dtype
    from tiecli.transforms.elementwise import scale_array

    made = scale_array(np.ascontiguousarray(canonical).view(numpy_dtype(dtype)), factor, dtype)
    return bool(np.array_equal(made.view(alias.dtype), alias))


def slope(canonical: NDArray[Any], alias: NDArray[Any]) -> float:
    """Fits a factor to samples by least squares, in few digits; 1 where that is about right."""
    with np.errstate(all="ignore"):
        x, y = canonical.astype(np.float64), alias.astype(np.float64)
        usable = np.isfinite(x) & np.isfinite(y)
        x, y = x[usable], y[usable]
        factor = float((x * y).sum() / (x * x).sum())
    if not isfinite(factor) or factor == 0 or 0.9 < factor < 1.1:
        return 1.0
    return _plainest(*sorted((factor * 0.999, factor * 1.001)))


def _roots(lengths: Sequence[int], dtype: DType) -> Iterator[float]:
    for length in sorted(set(lengths) - {0, 1}, reverse=True):
        for power in (sqrt(length), 1 / sqrt(length), float(length), 1 / length):
            for factor in (power, float(np.float32(power)), _rounded_to(power, dtype)):
                yield factor
                yield -factor


def _lowest(low: float) -> Iterator[float]:
    """Steps up from the lower bound: in float64 the factor has as many digits as the products."""
    for _ in range(16):
        yield low
        low = nextafter(low, inf)


def _rounded_to(factor: float, dtype: DType) -> float:
    digits = {"BF16": 8, "F16": 11}.get(dtype.name, 53)
    fraction, exponent = frexp(factor)
    return ldexp(round(ldexp(fraction, digits)), exponent - digits)


def _plainest(low: float, high: float) -> float:
    """Finds the number with the fewest binary digits within bounds of one sign."""
    if high < 0:
        return -_plainest(-high, -low)
    middle = low + (high - low) / 2
    fraction, exponent = frexp(middle)
    for digits in range(1, 54):
        factor = ldexp(round(ldexp(fraction, digits)), exponent - digits)
        if low <= factor <= high:
            return factor
    return middle


def _smallest_normal(dtype: DType) -> float:
    exponents = {"F16": -14, "BF16": -126, "F32": -126, "F64": -1022, "F8_E4M3": -6, "F8_E5M2": -14}
    return ldexp(1.0, exponents.get(dtype.name, -7))
