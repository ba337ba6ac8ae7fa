"""Exactness: how much of a leaf survives each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from tiecli.leaves import DTYPES, DType, LeafSpec
from tiecli.transforms.steps import (
    Cast,
    Concat,
    Conjugate,
    Flip,
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


class Exactness(StrEnum):
    """What a transform keeps of its sources, from all to little; stated in this order.

    Attributes:
        BIJECTION: Every bit; each result comes from one source.
        INJECTION: Every bit, and the result holds more than that.
        SURJECTION: A part of the elements, bit for bit.
        ROUNDING: Values up to one rounding.
        LOSSY: Values that the new dtype can hold.
    """

    BIJECTION = "bijection"
    INJECTION = "injection"
    SURJECTION = "surjection"
    ROUNDING = "rounding"
    LOSSY = "lossy"


_ORDER = tuple(Exactness)


def worst(classes: Sequence[Exactness]) -> Exactness:
    """The class of a pipe; a bijection if it is empty."""
    return max(classes, key=_ORDER.index, default=Exactness.BIJECTION)


def step_exactness(step: Step, source: LeafSpec, result: LeafSpec) -> Exactness:
    """Classes one step, given what stands before and after it."""
    match step:
        case Permute() | Rearrange() | Reshape() | Flip() | Concat() | Stack() | Negate() | Conjugate():
            return Exactness.BIJECTION
        case Slice():
            return Exactness.BIJECTION if result.size == source.size else Exactness.SURJECTION
        case Pad() | Repeat():
            return Exactness.BIJECTION if result == source else Exactness.INJECTION
        case Scale():
            return Exactness.ROUNDING
        case Cast():
            if source.dtype == result.dtype:
                return Exactness.BIJECTION
            return Exactness.INJECTION if holds_every_value(result.dtype, source.dtype) else Exactness.LOSSY
        case _:
            assert_never(step)


@dataclass(frozen=True, slots=True)
class FloatFormat:
    """What the values of a float dtype are made of.

    Attributes:
        digits: Binary digits of the significand, the hidden one included.
        least: Exponent of the smallest value above zero.
        top: The largest finite value.
        is_ieee: Whether there are infinities, and several NaNs of each sign.
        has_negative_zero: Whether zero comes with both signs.
    """

    digits: int
    least: int
    top: float
    is_ieee: bool = True
    has_negative_zero: bool = True


# Source: IEEE 754-2019 and the OCP 8-bit Floating Point Specification 1.0; the FNUZ formats as in ml_dtypes.
FLOAT_FORMATS: Mapping[str, FloatFormat] = MappingProxyType(
    {
        "F64": FloatFormat(53, -1074, (2 - 2.0**-52) * 2.0**1023),
        "F32": FloatFormat(24, -149, (2 - 2.0**-23) * 2.0**127),
        "F16": FloatFormat(11, -24, 65504.0),
        "BF16": FloatFormat(8, -133, (2 - 2.0**-7) * 2.0**127),
        "F8_E5M2": FloatFormat(3, -16, 57344.0),
        "F8_E4M3": FloatFormat(4, -9, 448.0, is_ieee=False),
        "F8_E4M3FNUZ": FloatFormat(4, -10, 240.0, is_ieee=False, has_negative_zero=False),
        "F8_E5M2FNUZ": FloatFormat(3, -17, 57344.0, is_ieee=False, has_negative_zero=False),
        "F8_E8M0": FloatFormat(1, -127, 2.0**127, is_ieee=False, has_negative_zero=False),
    }
)


def holds_every_value(target: DType, source: DType) -> bool:
    """Whether a cast keeps every value of `source` apart, so that casting back undoes it.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> holds_every_value(DTYPES["F32"], DTYPES["BF16"])
        True
        >>> holds_every_value(DTYPES["F16"], DTYPES["BF16"])
        False
    """
    if source == target:
        return True
    if target.kind == "complex":
        return source.kind == "complex" or holds_every_value(_PART, source)
    if source.kind in ("integer", "bool"):
        low, high = integer_bounds(source)
        if target.kind == "integer":
            bottom, top = integer_bounds(target)
            return bottom <= low and high <= top
        return target.name in FLOAT_FORMATS and target.name != "F8_E8M0" and _holds_integers(target, max(-low, high))
    if source.kind != "float" or target.kind != "float" or target.name == "F8_E8M0":
        return False
    wide, narrow = FLOAT_FORMATS[target.name], FLOAT_FORMATS[source.name]
    return (
        (wide.digits >= narrow.digits and wide.least <= narrow.least and wide.top >= narrow.top)
        and wide.is_ieee >= narrow.is_ieee
        and wide.has_negative_zero >= narrow.has_negative_zero
    )


def integer_bounds(dtype: DType) -> tuple[int, int]:
    """The least and the largest value of an integer or bool dtype."""
    if dtype.kind == "bool":
        return 0, 1
    if dtype.name.startswith("U"):
        return 0, 2**dtype.bits - 1
    return -(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1


def _holds_integers(target: DType, largest: int) -> bool:
    layout = FLOAT_FORMATS[target.name]
    return largest <= layout.top and largest <= 1 << layout.digits


_PART = DTYPES["F32"]
