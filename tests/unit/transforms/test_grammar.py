"""Grammar: what each spelling means, what it prints as, and what is refused where."""

from __future__ import annotations

import re

import pytest

from tiecli.errors import TransformSyntaxError
from tiecli.leaves import DTYPES
from tiecli.transforms import Transform
from tiecli.transforms.steps import (
    MAX_LENGTH,
    MAX_STEPS,
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
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


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("transpose", Permute((1, 0))),
        ("transpose(1,0,2)", Permute((1, 0, 2))),
        ("transpose(-1, 0, 1)", Permute((2, 0, 1))),
        ("'v d -> d v'", Permute((1, 0))),
        ("'(h k) d -> h k d', h=8", Rearrange(((0, 1), (2,)), ((0,), (1,), (2,)), (8, None, None))),
        ("'a 1 b -> (b a)'", Rearrange(((0,), (), (1,)), ((1, 0),), (None, None))),
        ("'a () b -> (b a)'", Rearrange(((0,), (), (1,)), ((1, 0),), (None, None))),
        ("[:50257]", Slice((Range(stop=50257),))),
        ("[3]", Slice((Index(3),))),
        ("[-1]", Slice((Index(-1),))),
        ("[..., 0:768]", Slice((), (Range(stop=768),))),
        ("[1, ..., 2:8:3]", Slice((Index(1),), (Range(2, 8, 3),))),
        ("[5::-1]", Slice((Range(5, None, -1),))),
        ("[:, 3]", Slice((Range(), Index(3)))),
        ("reshape(4,-1)", Reshape((4, -1))),
        ("reshape()", Reshape(())),
        ("flip(-1)", Flip(-1)),
        ("pad(0,0,47)", Pad(0, 0, 47)),
        ("repeat(1,4)", Repeat(1, 4)),
        ("concat(0)", Concat(0)),
        ("stack(-1)", Stack(-1)),
        ("scale(0.5)", Scale(0.5)),
        ("scale(.5e1)", Scale(5.0)),
        ("scale(-1/8)", Scale(-0.125)),
        ("scale(1/3)", Scale(1 / 3)),
        ("scale(0x1.8p+1)", Scale(3.0)),
        ("scale(0X.8P1)", Scale(0.25 * 4)),
        ("neg", Negate()),
        ("cast(BF16)", Cast(DTYPES["BF16"])),
        ("cast(bfloat16)", Cast(DTYPES["BF16"])),
        ("conj", Conjugate()),
        ("  flip ( 0 )  ", Flip(0)),
    ],
)
def test_each_step_is_read(text: str, step: Step) -> None:
    """Every spelling of the grammar gives its step."""
    assert Transform.parse(text).steps == Transform((step,)).steps


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        (
            ["same", "same | same", "transpose(0,1)", "'a b -> a b'", "[:]", "[...]", "pad(0,0,0)", "repeat(1,1)"],
            "same",
        ),
        (["scale(1)", "neg | neg", "conj | conj", "flip(0) | flip(0)", "transpose | transpose"], "same"),
        (["transpose", "transpose(1,0)", "transpose(-1,-2)", "'v d -> d v'", "'b a -> a b'"], "transpose"),
        (["'a b c -> c a b'", "transpose(2,0,1)", "transpose(1,2,0) | transpose(1,2,0)"], "transpose(2,0,1)"),
        (["'(h k) d -> h k d', h=8", "'(heads x) y -> heads x y' , heads = 8"], "'(a b) c -> a b c', a=8"),
        (["[0:5]", "[:5:1]", "[:5, :]", "[:5, ...]"], "[:5]"),
        (["[::-1]", "flip(0)", "[-1::-1]"], "flip(0)"),
        (["[..., ::-1, :]", "flip(-2)"], "flip(-2)"),
        (["transpose(1,0,2) | flip(-3)", "flip(1) | transpose(1,0,2)"], "flip(1) | transpose(1,0,2)"),
        (["transpose | [..., :3]", "[:3] | transpose"], "[:3] | transpose"),
        (["transpose(2,0,1) | [4]", "[:, :, 4]"], "[:, :, 4]"),
        (["reshape(2,3) | flip(-1)", "reshape(2,3) | flip(1)"], "reshape(2,3) | flip(1)"),
        (["reshape(4,6) | reshape(24)", "reshape(24)", "reshape(2,12) | reshape(-1)"], "reshape(24)"),
        (["pad(0,1,0) | pad(0,0,2)", "pad(0,1,2)"], "pad(0,1,2)"),
        (["repeat(1,2) | repeat(0,3) | repeat(1,2)", "repeat(0,3) | repeat(1,4)"], "repeat(0,3) | repeat(1,4)"),
        (["scale(2) | scale(4)", "neg | scale(-8)", "scale(8)"], "scale(0x1p+3)"),
        (["scale(-1)", "neg"], "neg"),
        (["scale(2) | transpose", "transpose | scale(2)"], "transpose | scale(0x1p+1)"),
        (["cast(f16) | [:3]", "[:3] | cast(float16) | cast(F16)"], "[:3] | cast(F16)"),
        (["neg | conj", "conj | neg"], "conj | neg"),
    ],
)
def test_equal_transforms_print_equal(spellings: list[str], canonical: str) -> None:
    """All spellings of one map have one text, which is the first to be read back."""
    assert {str(Transform.parse(text)) for text in spellings} == {canonical}
    assert str(Transform.parse(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "scale(0.5) | scale(0.5)",
        "scale(0.1) | scale(0.1)",
        "cast(F16) | cast(F32)",
        "pad(0,1,0) | neg",
        "[1:] | [1:]",
        "reshape(-1,4) | reshape(-1,2)",
    ],
)
def test_steps_that_could_round_or_fit_otherwise_are_kept_apart(text: str) -> None:
    """What is not the same for every leaf is not merged."""
    assert len(Transform.parse(text).steps) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a step at position 0"),
        ("same |", "expected a step at position 6"),
        ("transpoze", "expected a step at position 0"),
        ("neg neg", "expected `|` or the end at position 4"),
        ("flip(0", "expected `)` at position 6"),
        ("flip(x)", "expected an integer at position 5"),
        ("flip(8)", "at position 0, found axis 8, expected one from -8 to 7"),
        ("pad(0,1)", "expected 3 arguments, found 2, at position 8"),
        ("pad(0,-1,0)", "found padding -1, expected one from 0"),
        ("repeat(0,0)", "found repeat count 0, expected one from 1"),
        ("transpose(0,0)", "`transpose(0,0)` does not name each axis from 0 on once"),
        ("transpose(0,2)", "does not name each axis"),
        ("reshape(-1,-1)", "found -1 more than once"),
        ("reshape(-2)", "found length -2, expected one from -1"),
        (f"reshape({MAX_LENGTH})", f"found length {MAX_LENGTH}"),
        ("reshape(1,1,1,1,1,1,1,1,1)", "found 9 lengths, expected at most 8"),
        ("[]", "expected a slice such as `:5`, an integer, or `...` at position 1"),
        ("[1", "expected `]` at position 2"),
        ("[::0]", "a slice's step is not zero"),
        ("[..., ...]", "expected one `...` at most at position 6"),
        ("[1:2:3:4]", "expected at most two `:` in a slice"),
        ("scale(0)", "expected a finite number that is not zero at position 6"),
        ("scale(1e-999)", "expected a finite number that is not zero at position 6"),
        ("scale(1e999)", "expected a finite number that is not zero"),
        ("scale(nan)", "expected a number such as 0.5, 1/8 or 0x1p-3 at position 6"),
        ("scale(1/0)", "expected a finite number at position 6"),
        ("scale(0x1p99999)", "expected a finite number at position 6"),
        ("scale(1e)", "expected an exponent at position 8"),
        ("scale(" + "1" * 65 + ")", "expected a number of at most 64 characters"),
        ("cast(F128)", "expected a dtype, one of BOOL, "),
        ("cast(F4)", "nothing can be cast to F4"),
        ("neg | concat(0)", "expected `concat(0)`, which takes several sources, to be the first step, at position 6"),
        ("'a b", "expected a closing `'` at position 4"),
        ("'a b'", "expected `->` between the two sides of the pattern at position 4"),
        ("'a b -> b'", "expected axis `a` on the right side too"),
        ("'a -> a b'", "expected axis `b` on the left side too"),
        ("'a a -> a'", "expected each axis once on a side, not `a` again at position 3"),
        ("'a ... -> ... a'", "expected every axis by name, since `...` hides how many there are, at position 3"),
        ("'(a b) -> a b'", "needs the sizes of all its axes but one"),
        ("'(a b -> a b'", "expected a closing `)`"),
        ("'a 2 -> a'", "expected an axis name, `1`, or a group in `(` `)` at position 3"),
        ("'a b -> b a', c=3", "not of `c`"),
        ("'a b -> b a', a=0", "found axis size 0, expected one from 1"),
        ("'a b -> b a', a=2, a=2", "expected an axis and its size, each once at position 19"),
        ("'a b c d e f g h i -> i h g f e d c b a'", "expected at most 8 axes on a side"),
    ],
)
def test_errors_say_where_and_what_was_expected(text: str, expected: str) -> None:
    """Text that is no transform is refused with the place and the expectation."""
    with pytest.raises(TransformSyntaxError, match=re.escape(expected)) as caught:
        Transform.parse(text)

    assert caught.value.hints


def test_long_pipes_and_texts_are_refused() -> None:
    """Both the steps and the characters of a transform are limited."""
    pipe = " | ".join(["cast(F16)", "cast(F32)"] * (MAX_STEPS // 2))

    assert len(Transform.parse(pipe).steps) == MAX_STEPS
    with pytest.raises(TransformSyntaxError, match="expected at most 16 steps at position"):
        Transform.parse(f"{pipe} | neg")
    with pytest.raises(TransformSyntaxError, match="of 20000 characters is too long, expected at most 16384"):
        Transform.parse(" " * 20_000)


def test_errors_quote_no_control_characters() -> None:
    """A text from a stranger's manifest cannot write to the terminal."""
    with pytest.raises(
        TransformSyntaxError, match=r"^`neg�\[31m` is no transform: expected `\|` or the end at position 3$"
    ):
        Transform.parse("neg\x1b[31m")
