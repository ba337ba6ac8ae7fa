"""Key paths: their text form, their on-disk spelling, and what is refused."""

from __future__ import annotations

import pytest

from tiecli.errors import KeyPathSyntaxError
from tiecli.keypaths import Key, KeyPath


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ((), "[]"),
        (("w",), "w"),
        (("layers", 0, "w"), "layers[0].w"),
        (("layers", "0", "w"), "layers.0.w"),
        ((0,), "[0]"),
        ((-1, "w"), "[-1].w"),
        (("",), '""'),
        (("a", "", "b"), 'a."".b'),
        (("a.b", "w"), '"a.b".w'),
        (('say "hi"',), '"say \\"hi\\""'),
        (("x[0]", 1), '"x[0]"[1]'),
        (("naïve ✓", "a b"), "naïve ✓.a b"),
    ],
)
def test_text_form(keys: tuple[Key, ...], text: str) -> None:
    """Each path has the text form that the documentation shows, and is read back from it."""
    assert str(KeyPath(keys)) == text
    assert KeyPath.parse(text) == KeyPath(keys)


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "h.0.weight", 'a"b', "a[0]", "a*b{c}", "re:x", "a b\n", "λ.0"])
def test_spelling_is_the_name_on_disk(name: str) -> None:
    """A path made from a name on disk is spelled as that name, whatever it holds."""
    assert KeyPath.from_name(name).spelling == name


def test_spelling_of_a_typed_path_is_its_text_form() -> None:
    """Where a dotted name would be ambiguous, people see the exact form."""
    assert KeyPath(("layers", 0, "w")).spelling == "layers[0].w"
    assert KeyPath(("a.b", "w")).spelling == '"a.b".w'
    assert KeyPath(()).spelling == "[]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a key at position 0"),
        (".a", "a key at position 0"),
        ("a.", "a key at position 2"),
        ("a..b", "a key at position 2"),
        ('a"b', r"a `\.` or `\[` at position 1"),
        ('"a', "a closing quote at position 0"),
        ('"a"b', r"a `\.` or `\[` at position 3"),
        ("a[", r"an index such as `\[0\]` at position 1"),
        ("a[x]", r"an index such as `\[0\]` at position 1"),
        ("a[01]", r"an index such as `\[0\]` at position 1"),
        ("a[-0]", r"an index such as `\[0\]` at position 1"),
        ("a[²]", r"an index such as `\[0\]` at position 1"),
        ("a]", r"a `\.` or `\[` at position 1"),
    ],
)
def test_what_is_no_key_path(text: str, expected: str) -> None:
    """A text that is no key path is refused, with the place and what was expected there."""
    with pytest.raises(KeyPathSyntaxError, match=f"is no key path: expected {expected}"):
        KeyPath.parse(text)


def test_an_index_of_thousands_of_digits_is_refused() -> None:
    """Python's own limit on the digits of an integer does not come through as another error."""
    with pytest.raises(KeyPathSyntaxError, match="expected an index"):
        KeyPath.parse("a[" + "1" * 5_000 + "]")
