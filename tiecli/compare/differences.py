"""Differences: how far two equally long runs of elements lie apart, bit by bit and by value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.leaves import DType

Bits = NDArray[np.unsignedinteger[Any]]
Index = tuple[int, ...]
Locate = Callable[[int], Index]

_SPARSE = 16
"""Below one differing element in this many, only the differing ones are decoded."""

_SMALL_BYTE_FLOATS = ("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


def as_bits(values: NDArray[Any]) -> Bits:
    """Views any array as unsigned integers of the same width, flattened in C order."""
    flat = np.ascontiguousarray(values).reshape(-1)
    bits: Bits = flat.view(f"u{flat.dtype.itemsize}")
    return bits


def bits_of(raw: bytearray | memoryview | bytes, dtype: DType) -> Bits:
    """Views stored bytes as one unsigned integer an element; packed elements are unpacked.

    Elements smaller than a byte are taken to lie least significant bit first; which of two
    neighbours differs depends on that, whether a byte differs does not.
    """
    if dtype.bits >= 8:
        bits: Bits = np.frombuffer(raw, f"<u{dtype.bits // 8}")
        return bits
    single = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little").reshape(-1, dtype.bits)
    return np.packbits(single, axis=1, bitorder="little").reshape(-1)


def decode(bits: Bits, dtype: DType) -> NDArray[Any]:
    """Turns stored bits into numbers that numpy computes with: float32, float64, complex or integers.

    Args:
        bits: One unsigned integer an element.
        dtype: Any dtype but packed ones.
    """
    if dtype.name == "BF16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype.name in _SMALL_BYTE_FLOATS:
        return _byte_float_table(dtype.numpy_name)[bits]
    values: NDArray[Any] = bits.view(dtype.numpy_name)
    return values.astype(np.float32) if dtype.name == "F16" else values


def ordered(bits: Bits, dtype: DType) -> NDArray[Any]:
    """Maps floats onto integers of the same width that keep their order: one step is one ulp.

    Both zeros map to 0. Source: the sign-magnitude layout of IEEE 754 interchange formats;
    F8_E8M0 has no sign and is in order as it stands.
    """
    signed = bits.view(f"i{bits.dtype.itemsize}")
    if dtype.name == "F8_E8M0":
        return bits.astype(np.int16)
    width = bits.dtype.itemsize * 8
    sign = signed >> (width - 1)
    magnitude = signed & np.iinfo(signed.dtype).max
    result: NDArray[Any] = (magnitude ^ sign) - sign
    return result


@cache
def _byte_float_table(name: str) -> NDArray[np.float32]:
    import ml_dtypes

    codes = np.arange(256, dtype=np.uint8)
    table: NDArray[np.float32] = codes.view(getattr(ml_dtypes, name)).astype(np.float32)
    return table


class Tally:
    """Adds up the differences between two leaves, block after block.

    Attributes:
        differing: Elements whose bits differ so far.
        first: Index of the first of them, in C order.
        max_abs: Largest absolute difference among finite pairs; None before there is one.
        max_rel: Largest difference relative to the larger of the two magnitudes.
        max_ulp: Largest difference in units in the last place; floats only.
        worst: Index of `max_abs`.
    """

    def __init__(self, dtype: DType, *, cosine: bool = False) -> None:
        self.dtype = dtype
        self.differing = 0
        self.first: Index | None = None
        self.worst: Index | None = None
        self.max_abs: float | None = None
        self.max_rel: float | None = None
        self.max_ulp: int | None = None
        self._products = np.zeros(3) if cosine and dtype.kind in ("float", "integer", "complex") else None

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between the two leaves; None when not asked for or not defined."""
        if self._products is None:
            return None
        dot, left, right = self._products
        norm = float(np.sqrt(left) * np.sqrt(right))
        return float(np.clip(dot / norm, -1.0, 1.0)) if norm > 0 and np.isfinite(norm) else None

    def add(self, left: Bits, right: Bits, locate: Locate) -> None:
        """Takes in one block.

        Args:
            left: Bits of the alias, one an element.
            right: Bits of what it is compared with.
            locate: Gives the index in the whole leaf of a position in this block.
        """
        if self._products is not None:
            self._add_products(left, right)
        unequal = left != right
        count = int(np.count_nonzero(unequal))
        if count == 0:
            return
        self.differing += count
        first = locate(int(np.argmax(unequal)))
        self.first = first if self.first is None else min(self.first, first)
        if self.dtype.kind in ("bool", "packed"):
            return
        if count * _SPARSE < left.size:
            chosen = np.flatnonzero(unequal)
            self._measure(left[chosen], right[chosen], lambda position: locate(int(chosen[position])))
        else:
            self._measure(left, right, locate)

    def _measure(self, left: Bits, right: Bits, locate: Locate) -> None:
        if self.dtype.kind == "integer":
            self._measure_integers(left, right, locate)
            return
        with np.errstate(all="ignore"):
            x, y = decode(left, self.dtype), decode(right, self.dtype)
            gap = np.abs(x - y)
            at = int(np.argmax(gap))
            if gap[at] == 0 or not np.isfinite(gap[at]):
                self._measure_finite(left, right, x, y, locate)
                return
            if self._is_farther(float(gap[at])):
                # The winner alone is recomputed in double precision: the block is not worth it.
                wide = np.complex128 if self.dtype.kind == "complex" else np.float64
                self.max_abs = float(np.abs(wide(x[at]) - wide(y[at])))
                self.worst = locate(at)
            larger = np.maximum(np.abs(x), np.abs(y))
            larger[larger == 0] = 1
            self.max_rel = max(self.max_rel or 0.0, float(np.max(gap / larger)))
        if self.dtype.kind == "float":
            self._measure_ulp(left, right)

    def _measure_finite(self, left: Bits, right: Bits, x: NDArray[Any], y: NDArray[Any], locate: Locate) -> None:
        """Measures a block that holds an infinity, a NaN, a gap that overflows, or zeros that differ in sign only."""
        finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y) & (left != right))
        if finite.size == 0:
            return
        x, y = x[finite], y[finite]
        # Only the largest doubles lie too far apart for a double.
        wide = {"C64": np.complex128, "F64": np.longdouble}.get(self.dtype.name, np.float64)
        gap = np.abs(x.astype(wide) - y.astype(wide))
        at = int(np.argmax(gap))
        if self._is_farther(float(gap[at])):
            self.max_abs = float(gap[at])
            self.worst = locate(int(finite[at]))
        larger = np.maximum(np.abs(x), np.abs(y)).astype(gap.dtype)
        larger[larger == 0] = 1
        self.max_rel = max(self.max_rel or 0.0, float(np.max(gap / larger)))
        if self.dtype.kind == "float":
            self._measure_ulp(left[finite], right[finite])

    def _is_farther(self, gap: float) -> bool:
        return self.max_abs is None or gap > self.max_abs

    def _measure_ulp(self, left: Bits, right: Bits) -> None:
        x, y = ordered(left, self.dtype), ordered(right, self.dtype)
        # The gap of two n-bit integers needs n + 1 bits signed, but fits n bits unsigned.
        gap = np.maximum(x, y).view(f"u{x.dtype.itemsize}") - np.minimum(x, y).view(f"u{x.dtype.itemsize}")
        self.max_ulp = max(self.max_ulp or 0, int(gap.max()))

    def _measure_integers(self, left: Bits, right: Bits, locate: Locate) -> None:
        x, y = left.view(self.dtype.numpy_name), right.view(self.dtype.numpy_name)
        unsigned = f"u{x.dtype.itemsize}"
        low, high = np.minimum(x, y), np.maximum(x, y)
        gap = high.view(unsigned) - low.view(unsigned)
        at = int(np.argmax(gap))
        if self._is_farther(float(gap[at])):
            self.max_abs = float(gap[at])
            self.worst = locate(at)
        larger = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        larger[larger == 0] = 1
        self.max_rel = max(self.max_rel or 0.0, float(np.max(gap / larger)))

    def _add_products(self, left: Bits, right: Bits) -> None:
        assert self._products is not None
        wide = np.complex128 if self.dtype.kind == "complex" else np.float64
        with np.errstate(all="ignore"):
            x = decode(left, self.dtype).astype(wide, copy=False)
            y = decode(right, self.dtype).astype(wide, copy=False)
            self._products += (np.vdot(y, x).real, np.vdot(x, x).real, np.vdot(y, y).real)
