"""Ties: chains are followed to their root, contradictions are refused."""

from __future__ import annotations

import pytest

from tiecli.errors import TieConflictError
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform


def tie(alias: str, *canonicals: str, transform: str = "same") -> Tie:
    return Tie(KeyPath.from_name(alias), tuple(map(KeyPath.from_name, canonicals)), Transform.parse(transform))


def shown(*ties: Tie) -> list[str]:
    return [str(found) for found in TieSet(ties)]


def test_how_a_tie_is_shown() -> None:
    """A tie reads as an equation; `same` goes without saying, several sources stand in parentheses."""
    assert str(tie("lm_head", "wte")) == "lm_head = wte"
    assert str(tie("lm_head", "wte", transform="transpose")) == "lm_head = wte | transpose"
    assert str(tie("qk", "q", "k", transform="concat(0)")) == "qk = (q, k) | concat(0)"


@pytest.mark.parametrize("canonicals", [("w",), ("v", "w")])
def test_a_leaf_tied_to_itself(canonicals: tuple[str, ...]) -> None:
    """A leaf cannot be an alias of itself, nor be made of itself."""
    with pytest.raises(TieConflictError, match="`w` cannot be tied to itself"):
        tie("w", *canonicals, transform="same" if len(canonicals) == 1 else "concat(0)")


def test_a_set_keeps_its_order() -> None:
    """Ties come out in the order in which they went in, and are found by their alias."""
    ties = (tie("b", "a"), tie("d", "c"), tie("e", "a"))

    assert tuple(TieSet(ties)) == ties
    assert len(TieSet(ties)) == 3
    assert TieSet(ties).by_alias[KeyPath.from_name("d")] == ties[1]


def test_an_empty_set() -> None:
    """A set without ties is a set."""
    assert len(TieSet(())) == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_chains_are_composed_to_their_root(order: tuple[int, ...]) -> None:
    """An alias of an alias follows from the stored leaf, in whatever order the ties are given."""
    chain = (tie("b", "a", transform="transpose"), tie("c", "b", transform="[:5]"), tie("d", "c"))

    assert set(shown(*(chain[n] for n in order))) == {
        "b = a | transpose",
        f"c = a | {Transform.parse('transpose | [:5]')}",
        f"d = a | {Transform.parse('transpose | [:5]')}",
    }


def test_transposes_of_a_chain_cancel() -> None:
    """A chain there and back again is plain."""
    assert shown(tie("b", "a", transform="transpose"), tie("c", "b", transform="transpose"))[1] == "c = a"


def test_a_chain_onto_several_sources() -> None:
    """An alias of a leaf that is made of several follows from these."""
    assert shown(tie("qk", "q", "k", transform="concat(0)"), tie("x", "qk", transform="transpose"))[1] == (
        "x = (q, k) | concat(0) | transpose"
    )


def test_an_alias_among_several_sources() -> None:
    """Several sources must all be stored; the error says which is not, and what to name instead."""
    with pytest.raises(
        TieConflictError, match="`x` is made of several leaves, and one of them, `k`, is an alias"
    ) as caught:
        TieSet((tie("k", "q"), tie("x", "q", "k", transform="concat(0)")))

    assert caught.value.hints == ("Name `q` in its place.",)


@pytest.mark.parametrize("second", ["a", "c"])
def test_an_alias_tied_twice(second: str) -> None:
    """One leaf cannot follow from two, nor from one twice; both sources are named."""
    with pytest.raises(TieConflictError, match=f"`b` is tied twice: to a and to {second}"):
        TieSet((tie("b", "a"), tie("b", second)))


def test_a_cycle_of_two() -> None:
    """Two leaves cannot follow from each other; the cycle is spelled out."""
    with pytest.raises(TieConflictError, match="ties form a cycle: a → b → a"):
        TieSet((tie("a", "b"), tie("b", "a")))


def test_a_cycle_further_on() -> None:
    """A tie that leads into a cycle is refused as the cycle is."""
    with pytest.raises(TieConflictError, match="ties form a cycle: x → a → b → c → a"):
        TieSet((tie("x", "a"), tie("a", "b"), tie("b", "c"), tie("c", "a")))


def test_a_cycle_through_transforms() -> None:
    """A cycle is a cycle even where its transforms cancel."""
    with pytest.raises(TieConflictError, match="ties form a cycle"):
        TieSet((tie("a", "b", transform="transpose"), tie("b", "a", transform="transpose")))


def test_typed_and_plain_paths_are_different_leaves() -> None:
    """An index and a numeral are different keys, so no cycle comes of mixing them."""
    typed = KeyPath(("a", 0))
    ties = (
        Tie(typed, (KeyPath.from_name("a.0"),), Transform.parse("same")),
        Tie(KeyPath.from_name("b"), (typed,), Transform.parse("same")),
    )

    assert [str(found) for found in TieSet(ties)] == ["a[0] = a.0", "b = a.0"]
