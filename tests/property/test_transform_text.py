"""The text form of a transform is canonical, and read back exactly."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import any_steps
from tiecli.errors import TransformSyntaxError
from tiecli.transforms import Transform
from tiecli.transforms.grammar import MAX_TEXT, format_steps, parse_steps
from tiecli.transforms.steps import Step

fragments = st.sampled_from(
    [
        *"|'[](),:.-=/ 0159abhxpe",
        "...",
        "->",
        "same",
        "transpose",
        "reshape(",
        "flip(",
        "pad(0,1,",
        "repeat(",
        "concat(0)",
        "stack(",
        "scale(",
        "0x1p-3",
        "1e5",
        "neg",
        "cast(",
        "bf16",
        "conj",
        "'a b -> b a'",
        "\x00",
        "é",
        "٣",
        "inf",
        "nan",
        "9" * 30,
    ]
)


@given(any_steps)
@settings(max_examples=300, deadline=None)
def test_parse_reads_back_what_str_writes(steps: tuple[Step, ...]) -> None:
    """`parse(str(transform)) == transform`, and the text is short enough to be read."""
    try:
        transform = Transform(steps)
    except TransformSyntaxError:
        return

    assert len(str(transform)) <= MAX_TEXT
    assert Transform.parse(str(transform)) == transform


@given(any_steps)
@settings(max_examples=200, deadline=None)
def test_steps_are_read_as_they_are_written(steps: tuple[Step, ...]) -> None:
    """Before anything is rewritten, text and steps are the same thing."""
    assert parse_steps(format_steps(steps)) == steps


@given(any_steps)
@settings(deadline=None)
def test_the_canonical_form_is_stable(steps: tuple[Step, ...]) -> None:
    """Rewriting a canonical pipe changes nothing."""
    try:
        transform = Transform(steps)
    except TransformSyntaxError:
        return

    assert Transform(transform.steps).steps == transform.steps


@given(st.text() | st.lists(fragments, max_size=12).map("".join))
@settings(max_examples=500, deadline=None)
def test_only_a_syntax_error_comes_out_of_any_text(text: str) -> None:
    """Whatever is typed, it parses or it is refused in one way; and what parses reads back."""
    with contextlib.suppress(TransformSyntaxError):
        transform = Transform.parse(text)
        assert Transform.parse(str(transform)) == transform
