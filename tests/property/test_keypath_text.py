"""The text form of a key path is injective, and read back exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies_keypaths import names, paths, texts
from tiecli.errors import KeyPathSyntaxError
from tiecli.keypaths import KeyPath


@given(paths)
def test_parse_reads_back_what_str_writes(path: KeyPath) -> None:
    """`parse(str(path)) == path`, so the text form is injective."""
    assert KeyPath.parse(str(path)) == path


@given(texts)
def test_what_parses_is_written_back_to_the_same_path(text: str) -> None:
    """A text that is accepted names one path, whatever it looks like; others are refused in one way."""
    try:
        path = KeyPath.parse(text)
    except KeyPathSyntaxError:
        return

    assert KeyPath.parse(str(path)) == path


@given(names)
def test_spelling_gives_the_name_back(name: str) -> None:
    """`from_name` loses nothing, so two names on disk never become one path."""
    assert KeyPath.from_name(name).spelling == name


@given(st.lists(st.text(alphabet="ab[0]\"'", max_size=4), min_size=1, max_size=4))
def test_paths_of_dot_free_keys_come_from_their_spelling(keys: list[str]) -> None:
    """`from_name` reaches every path of dot-free keys: it is a bijection onto them."""
    path = KeyPath(tuple(keys))

    assert KeyPath.from_name(path.spelling) == path
