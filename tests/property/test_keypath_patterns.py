"""Patterns: a name always finds itself, and nothing but a syntax error comes out of a bad one."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from tests.property.strategies_keypaths import names, paths, plain_names, texts
from tiecli.errors import KeyPathSyntaxError
from tiecli.keypaths import KeyPath
from tiecli.patterns import KeyPattern, select_leaves


@given(names, st.lists(names, max_size=5))
@example("a*b", ["axb", "ab"])
@example("**", ["a.b", "c"])
@example("re:.*", ["x"])
@example("(a, b)", ["a", "b"])
@example('"x[0]"', ["x[0]"])
def test_a_name_finds_itself(name: str, others: list[str]) -> None:
    """The full name of a leaf selects that leaf alone, whatever the name means as a pattern."""
    leaves = {KeyPath.from_name(other) for other in [*others, name]}

    assert select_leaves(name, leaves) == (KeyPath.from_name(name),)


@given(paths, st.lists(paths, max_size=5))
def test_the_text_form_finds_its_path(path: KeyPath, others: list[KeyPath]) -> None:
    """The exact text form selects its path alone, unless a name on disk reads just so."""
    leaves = {path, *(other for other in others if other.spelling != str(path))}

    assert select_leaves(str(path), leaves) == (path,)


@given(st.one_of(texts, st.text(max_size=30), texts.map("re:".__add__), texts.map("['".__add__)))
@example("re:(?P<a>")
@example("re:a{99999999999999}")
@example("re:(?L)x")
@example("re:[[a]")
@example("{" * 500)
@example("{0..999999999}")
@example("a" * 20_000)
def test_a_bad_pattern_is_a_syntax_error(text: str) -> None:
    """Whatever is typed either is a pattern or is refused as none."""
    refused, matched = False, None
    try:
        matched = KeyPattern.parse(text).match(KeyPath.from_name("a.b.0"))
    except KeyPathSyntaxError as error:
        refused = bool(error.message and error.hints)

    assert refused or matched is None or isinstance(matched, dict)


@given(plain_names)
def test_wildcards_keep_what_they_stood_for(name: str) -> None:
    """Putting the captures back in place of the wildcards gives the name."""
    depth = name.count(".") + 1
    captures = KeyPattern(".".join(["*"] * depth)).match(KeyPath.from_name(name))

    assert captures is not None
    assert ".".join(captures[f"*{number}"] for number in range(depth)) == name


@given(st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "{a,b}"]), min_size=1, max_size=4), plain_names)
def test_globs_agree_with_a_slow_reading(segments: list[str], name: str) -> None:
    """A pattern accepts exactly the names that a segment-by-segment reading accepts."""
    if any(pair == ("**", "**") for pair in pairwise(segments)):
        return

    found = KeyPattern(".".join(segments)).match(KeyPath.from_name(name)) is not None

    assert found == _accepts(segments, name.split("."))


def _accepts(segments: list[str], keys: list[str]) -> bool:
    if not segments:
        return not keys
    if segments[0] == "**":
        return any(_accepts(segments[1:], keys[skipped:]) for skipped in range(len(keys) + 1))
    one = {"*": ".*", "a*": "a.*", "{a,b}": "a|b"}.get(segments[0], segments[0])
    return bool(keys) and re.fullmatch(one, keys[0]) is not None and _accepts(segments[1:], keys[1:])
