"""`conversion/names.py`: what a leaf is called in the other format."""

from __future__ import annotations

import pytest

from tiecli.conversion import to_name, to_path
from tiecli.errors import ConversionError
from tiecli.keypaths import Key, KeyPath

PAIRS: list[tuple[tuple[Key, ...], str]] = [
    (("h", "0", "attn", "w"), "h.0.attn.w"),
    (("layers", 0, "w"), "layers[0].w"),
    ((0, 1), "[0][1]"),
    (("a.b", "w"), '"a.b".w'),
    (("a/b", "~", "w"), "a/b.~.w"),
    (("", "w"), '"".w'),
    (('say "hi"',), '"say \\"hi\\""'),
    (("größer",), "größer"),
]


@pytest.mark.parametrize(("keys", "name"), PAIRS)
def test_a_name_is_the_exact_text_form(keys: tuple[Key, ...], name: str) -> None:
    """Both ways."""
    assert to_name(KeyPath(keys)).spelling == name
    assert to_path(KeyPath.from_name(name)) == KeyPath(keys)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a..b", "expected a key at position 2"),
        ("", "expected a key at position 0"),
        (".a", "expected a key at position 0"),
        ("a[x].b", "expected an index such as `[0]` at position 1"),
        ('it"s', "expected a `.` or `[` at position 2"),
        ('"a".b', "`a.b` would be"),
        ("a.[0]", "`a[0]` would be"),
        ("a[00]", "expected an index"),
        ('"\\u0061.b"', '`"a.b"` would be'),
    ],
)
def test_any_other_name_is_refused(name: str, reason: str) -> None:
    """It would come back as another one, or not at all; the message says what is wrong with it."""
    with pytest.raises(ConversionError) as caught:
        to_path(KeyPath.from_name(name))

    assert f"the name `{name}`" in caught.value.message
    assert reason in caught.value.message
    assert caught.value.hints


def test_the_name_of_the_metadata_is_no_leaf() -> None:
    """A safetensors header has one reserved name, at its root only."""
    with pytest.raises(ConversionError, match="what safetensors calls its metadata"):
        to_name(KeyPath(("__metadata__",)))
    assert to_name(KeyPath(("params", "__metadata__"))).spelling == "params.__metadata__"
