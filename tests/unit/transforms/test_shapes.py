"""Shapes: what each step gives, and how it says what it does not fit."""

from __future__ import annotations

import re

import pytest

from tiecli.errors import TransformMismatchError
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import Transform


def leaf(*shape: int, dtype: str = "F32") -> LeafSpec:
    return LeafSpec(shape, DTYPES[dtype])


@pytest.mark.parametrize(
    ("text", "sources", "expected"),
    [
        ("same", [leaf(3)], leaf(3)),
        ("same", [leaf(4, dtype="F4")], leaf(4, dtype="F4")),
        ("transpose", [leaf(3, 5)], leaf(5, 3)),
        ("transpose(1,2,0)", [leaf(3, 4, 5)], leaf(4, 5, 3)),
        ("'(h k) d -> h k d', h=8", [leaf(64, 5)], leaf(8, 8, 5)),
        ("'a 1 b -> b a'", [leaf(2, 1, 3)], leaf(3, 2)),
        ("[:50257]", [leaf(50304, 768)], leaf(50257, 768)),
        ("[3]", [leaf(12, 4, 5)], leaf(4, 5)),
        ("[..., -1]", [leaf(12, 4, 5)], leaf(12, 4)),
        ("[1:8:3]", [leaf(10)], leaf(3)),
        ("[8:1:-3]", [leaf(10)], leaf(3)),
        ("[-3:]", [leaf(10)], leaf(3)),
        ("[4:4]", [leaf(4)], leaf(0)),
        ("reshape(2,-1)", [leaf(4, 3)], leaf(2, 6)),
        ("reshape(0,5)", [leaf(3, 0)], leaf(0, 5)),
        ("reshape()", [leaf(1, 1)], leaf()),
        ("flip(-1)", [leaf(2, 3)], leaf(2, 3)),
        ("pad(-2,1,2)", [leaf(2, 3)], leaf(5, 3)),
        ("repeat(1,4)", [leaf(2, 3)], leaf(2, 12)),
        ("concat(-1)", [leaf(2, 3), leaf(2, 4)], leaf(2, 7)),
        ("stack(1)", [leaf(2, 3)] * 4, leaf(2, 4, 3)),
        ("stack(-1)", [leaf(2, 3)] * 4, leaf(2, 3, 4)),
        ("scale(2)", [leaf(2, dtype="BF16")], leaf(2, dtype="BF16")),
        ("cast(F16)", [leaf(2, dtype="I64")], leaf(2, dtype="F16")),
        ("cast(BOOL)", [leaf(2)], leaf(2, dtype="BOOL")),
        ("conj", [leaf(2, dtype="C64")], leaf(2, dtype="C64")),
        ("flip(0)", [leaf(2, dtype="BOOL")], leaf(2, dtype="BOOL")),
    ],
)
def test_each_step_says_what_it_gives(text: str, sources: list[LeafSpec], expected: LeafSpec) -> None:
    """Shape and dtype follow without any values."""
    assert Transform.parse(text).spec(sources) == expected


@pytest.mark.parametrize(
    ("text", "sources", "expected"),
    [
        ("same", [leaf(3), leaf(3)], "`same` takes one source, found 2"),
        ("neg", [], "`neg` takes one source, found 0"),
        ("transpose", [leaf(3)], "`transpose` does not fit F32 3: expected 2 axes"),
        ("transpose", [leaf(3, 4, 5)], "`transpose` does not fit F32 3×4×5: expected 2 axes"),
        ("'(h k) d -> h k d', h=7", [leaf(64, 5)], "expected lengths that the sizes of the pattern divide"),
        ("'a 1 -> a'", [leaf(64, 5)], "expected an axis of length 1, not 5"),
        ("'a b -> (a b)'", [leaf(64)], "expected 2 axes"),
        ("[:5]", [leaf(4)], "`[:5]` does not fit F32 4: expected a slice of axis 0 in order and within its length 4"),
        ("[5:]", [leaf(4)], "within its length 4"),
        ("[-5:]", [leaf(4)], "within its length 4"),
        ("[:-5]", [leaf(4)], "within its length 4"),
        ("[3:1]", [leaf(4)], "expected a slice of axis 0 in order"),
        ("[1:3:-1]", [leaf(4)], "expected a slice of axis 0 in order"),
        ("[4::-1]", [leaf(4)], "within its length 4"),
        ("[:, 7]", [leaf(4, 7)], "expected an index of axis 1 within its length 7, not 7"),
        ("[0, 0]", [leaf(4)], "expected at least 2 axes"),
        ("reshape(5,-1)", [leaf(4, 3)], "expected a number of elements that fits, found 12"),
        ("reshape(0,-1)", [leaf(0)], "expected a number of elements that fits, found 0"),
        ("flip(2)", [leaf(4, 3)], "expected an axis of a leaf of 2 axes, not 2"),
        ("flip(-1)", [leaf()], "`flip(-1)` does not fit F32 scalar: expected an axis of a leaf of 0 axes, not -1"),
        ("concat(0)", [leaf(4)], "expected from 2 to 4096 sources, not 1"),
        ("concat(0)", [], "`concat(0)` does not fit no source"),
        ("concat(0)", [leaf(4, 3), leaf(4, 2)], "expected sources of one shape but for axis 0"),
        ("concat(1)", [leaf(4, 3), leaf(4)], "expected sources of one shape but for axis 1"),
        ("concat(0)", [leaf(4), leaf(4, dtype="F16")], "expected sources of one dtype"),
        ("stack(0)", [leaf(4), leaf(5)], "expected sources of one shape"),
        ("stack(2)", [leaf(4), leaf(4)], "expected an axis of a leaf of 2 axes, not 2"),
        ("scale(2)", [leaf(4, dtype="I8")], "`scale(0x1p+1)` does not fit I8 4: expected a float or complex dtype"),
        ("neg", [leaf(4, dtype="BOOL")], "expected a float or complex dtype"),
        ("conj", [leaf(4, dtype="U8")], "expected a float or complex dtype"),
        ("neg", [leaf(4, dtype="F8_E8M0")], "expected a dtype with a sign"),
        ("scale(-2)", [leaf(4, dtype="F8_E8M0")], "expected a dtype with a sign"),
        ("scale(1e-60)", [leaf(4, dtype="BF16")], "expected a factor that is finite and not zero in float32"),
        ("scale(1e60)", [leaf(4)], "expected a factor that is finite and not zero in float32"),
        ("cast(F32)", [leaf(4, dtype="C64")], "expected real elements; a cast would drop the imaginary parts"),
        ("flip(0)", [leaf(4, dtype="F4")], "packed elements can only be kept as they are, by `same`"),
        ("cast(F32)", [leaf(4, dtype="F6_E2M3")], "packed elements can only be kept as they are, by `same`"),
        ("flip(0)", [leaf(*[1] * 9)], "expected at most 8 axes"),
        ("stack(0)", [leaf(*[1] * 8)] * 2, "expected a result of at most 8 axes, not 9"),
        ("pad(0,0,281474976710655)", [leaf(4)], "expected a result of less than 281474976710656 elements"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, sources: list[LeafSpec], expected: str) -> None:
    """The error names the step, what it found and what it expected."""
    with pytest.raises(TransformMismatchError, match=re.escape(expected)):
        Transform.parse(text).spec(sources)


def test_a_factor_may_be_as_small_as_float64_goes_in_float64() -> None:
    """The range of a factor is that of the arithmetic it is used in."""
    assert Transform.parse("scale(1e-300)").spec([leaf(4, dtype="F64")]) == leaf(4, dtype="F64")
