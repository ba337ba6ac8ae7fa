"""Patterns: a name always finds itself, and nothing but a syntax error comes out of a bad one."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from tests.property.strategies_keypaths import names, paths, plain_names, texts
from tiecli.errors import KeyPathSyntaxError
from tiecli.keypaths import Key, KeyPath
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


@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "{a,b}", "1", "[1]", "[*]"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "1", 1, 10, "a.b"]), min_size=1, max_size=4),
)
def test_globs_agree_with_a_slow_reading(segments: list[str], keys: list[Key]) -> None:
    """A pattern accepts exactly the paths that a segment-by-segment reading accepts."""
    if any(pair == ("**", "**") for pair in pairwise(segments)):
        return

    text = "".join("." * (number > 0 and segment[0] != "[") + segment for number, segment in enumerate(segments))
    found = KeyPattern(text).match(KeyPath(tuple(keys))) is not None

    assert found == _accepts(segments, keys)


def _accepts(segments: list[str], keys: list[Key]) -> bool:
    if not segments:
        return not keys
    if segments[0] == "**":
        return any(_accepts(segments[1:], keys[skipped:]) for skipped in range(len(keys) + 1))
    one = {"*": ".*", "a*": "a.*", "{a,b}": "a|b", "[1]": "1", "[*]": r"\d+"}.get(segments[0], segments[0])
    accepted = bool(keys) and re.fullmatch(one, str(keys[0])) is not None
    if segments[0].startswith("[") and accepted:
        accepted = isinstance(keys[0], int)
    return accepted and _accepts(segments[1:], keys[1:])


typed_keys = st.lists(st.sampled_from(["a", "a.b", "b", "0", 0, 1]), min_size=1, max_size=3)


@given(st.lists(typed_keys, min_size=1, max_size=4))
@example([["a", 0], ["a", "0", "b"]])
def test_keys_joined_with_dots_find_their_path(trees: list[list[Key]]) -> None:
    """The name that a leaf is stored under finds it, unless it reads as the name of a subtree just as it is typed."""
    stored = {".".join(map(str, keys)): KeyPath(tuple(keys)) for keys in trees}

    for name, path in stored.items():
        typed = tuple(name.split("."))
        subtree = tuple(other for other in stored.values() if other.keys[: len(typed)] == typed)
        assert select_leaves(name, stored.values()) == (subtree if subtree and path not in subtree else (path,))
