"""Names that change their format can always be changed back."""

from __future__ import annotations

from hypothesis import assume, given

from tests.property.strategies_keypaths import names, paths, texts
from tiecli.conversion import to_name, to_path
from tiecli.errors import ConversionError
from tiecli.keypaths import KeyPath


@given(paths)
def test_every_place_has_a_name_of_its_own(path: KeyPath) -> None:
    """From a tree to a file and back: the same keys, of the same types."""
    assume(str(path) != "__metadata__")

    assert to_path(to_name(path)) == path


@given(names | texts)
def test_a_name_that_is_accepted_comes_back(name: str) -> None:
    """From a file to a tree and back: the same text; or it is refused, in one way."""
    try:
        path = to_path(KeyPath.from_name(name))
    except ConversionError:
        return

    assume(name != "__metadata__")
    assert to_name(path).spelling == name
