"""Values: NaN, infinities and zeros of a leaf, told by the bits of its elements and never by arithmetic.

The bits of a float, read as an integer, stand in the order of its magnitude. So the largest of a
block read as signed integers tells whether a positive element is no number, and the largest read
as unsigned ones whether a negative element is none; both together, whether all are zero. Only a
block in which something is found is looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.compare.differences import Bits, bits_of, decode
from tiecli.leaves import DTYPES, DType

Block = NDArray[np.uint8]
"""Some whole elements of a leaf, as they are stored."""

# Source: IEEE 754 interchange formats, and the OCP FP8 specification for the one that has NaN but no infinity.
_EXPONENTS = {"F64": 0x7FF << 52, "F32": 0xFF << 23, "BF16": 0xFF << 7, "F16": 0x1F << 10, "F8_E5M2": 0x1F << 2}
_FIRST_NAN = {"F8_E4M3": 0x7F}
# The one NaN of these has the bits that are -0.0 elsewhere.
_NAN_FOR_ZERO = frozenset({"F8_E4M3FNUZ", "F8_E5M2FNUZ"})
# Of no more than this many binary orders are all others.
_WIDE = frozenset({"F64", "F32", "BF16"})
_NEVER = 1 << 64


@dataclass(slots=True)
class Tally:
    """What is known of the elements so far, which follow one another.

    Attributes:
        nbytes: How many bytes they have.
        nan: How many are NaN; of complex elements, those with a part that is.
        inf: How many are infinite, likewise.
        is_zero: Whether all are zero, of either sign.
        zero_tail: Bytes of the elements at the end whose bits are all zero.
        smallest: Bits of the smallest magnitude that is finite and not zero, if asked for.
        largest: Bits of the largest finite magnitude, if asked for.
    """

    nbytes: int = 0
    nan: int = 0
    inf: int = 0
    is_zero: bool = True
    zero_tail: int = 0
    smallest: int = _NEVER
    largest: int = 0

    def join(self, behind: Tally) -> None:
        """Takes in what is known of the elements behind."""
        self.zero_tail = behind.zero_tail + (self.zero_tail if behind.zero_tail == behind.nbytes else 0)
        self.nbytes += behind.nbytes
        self.nan += behind.nan
        self.inf += behind.inf
        self.is_zero = self.is_zero and behind.is_zero
        self.smallest = min(self.smallest, behind.smallest)
        self.largest = max(self.largest, behind.largest)


@dataclass(frozen=True, slots=True)
class Gauge:
    """How to look at the elements of one dtype.

    Attributes:
        dtype: The dtype.
        parts: The dtype of what is looked at: of each half of a complex element.
        unsigned: The integers of its width.
        signed: The same with a sign.
        positive: From here on, signed bits are no number.
        negative: From here on, unsigned bits are none.
        lowest: Whether the lowest signed bits are none.
        zero: The largest unsigned bits of a zero; -1 if there is none.
    """

    dtype: DType
    parts: DType
    unsigned: np.dtype[Any]
    signed: np.dtype[Any]
    positive: int = _NEVER
    negative: int = _NEVER
    lowest: bool = False
    zero: int = 0

    def measure(self, block: Block, *, ranges: bool = False) -> Tally:
        """Looks at some elements.

        Args:
            block: Their bytes.
            ranges: Whether to find the smallest and the largest magnitude.
        """
        tally = Tally(block.nbytes)
        bits: Bits = block.view(self.unsigned)
        high = int(bits.max()) if bits.size else 0
        if high == 0:
            tally.is_zero, tally.zero_tail = self.zero >= 0, block.nbytes
            return tally
        if bits[-1] == 0:
            tally.zero_tail = int(np.argmax(bits[::-1] != 0)) * bits.itemsize
        signed = bits.view(self.signed)
        above = int(signed.max())
        tally.is_zero = high <= self.zero and above <= 0
        odd = above >= self.positive or high >= self.negative or (self.lowest and int(signed.min()) == -128)
        if odd:
            with np.errstate(invalid="ignore"):
                values = decode(bits_of(block.data, self.dtype), self.dtype)
            tally.nan, tally.inf = (int(np.count_nonzero(test(values))) for test in (np.isnan, np.isinf))
        if ranges and self.parts.name in _WIDE:
            self._find_range(tally, bits)
        return tally

    def _find_range(self, tally: Tally, bits: Bits) -> None:
        magnitudes = bits & bits.dtype.type(self.zero - 1)
        finite = magnitudes if not (tally.nan or tally.inf) else magnitudes[magnitudes < self.positive]
        if not finite.size:
            return
        tally.largest = int(finite.max())
        # Zeros wrap around to the top.
        finite -= bits.dtype.type(1)
        tally.smallest = int(finite.min()) + 1 if tally.largest else _NEVER

    def span(self, tally: Tally) -> int:
        """Gives how many times the smallest magnitude doubles before it passes the largest, rounded down."""
        if tally.smallest > tally.largest:
            return 0
        ends = np.array([tally.smallest, tally.largest], self.unsigned)
        _, exponents = np.frexp(decode(ends, self.parts).astype(np.float64))
        return int(exponents[1] - exponents[0])


@cache
def find_gauge(dtype: DType) -> Gauge:
    """Gives how to look at a dtype."""
    parts = DTYPES["F32"] if dtype.name == "C64" else dtype
    width = max(parts.bits, 8) // 8 if parts.kind != "packed" else 1
    unsigned, signed = np.dtype(f"<u{width}"), np.dtype(f"<i{width}")
    sign = 1 << (width * 8 - 1)
    name = parts.name
    if first := _EXPONENTS.get(name) or _FIRST_NAN.get(name):
        return Gauge(dtype, parts, unsigned, signed, first, first | sign, zero=sign)
    if name == "F8_E8M0":
        return Gauge(dtype, parts, unsigned, signed, negative=0xFF, zero=-1)
    return Gauge(dtype, parts, unsigned, signed, lowest=name in _NAN_FOR_ZERO)
