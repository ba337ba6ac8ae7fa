"""`tiecli/verification/groups.py`: ties that share a stored leaf stand together."""

from __future__ import annotations

from tests.unit.verification.memory import make_ties
from tiecli.verification.groups import group_ties


def names(*texts: str) -> list[tuple[list[str], list[str]]]:
    """Groups ties, and gives leaves and aliases by name."""
    return [
        ([path.spelling for path in group.canonicals], [tie.alias.spelling for tie in group.ties])
        for group in group_ties(make_ties(*texts))
    ]


def test_all_aliases_of_a_leaf_are_one_group() -> None:
    """Whatever their transforms, and in the order of the ties."""
    assert names("b = a", "d = c", "e = a | transpose") == [(["a"], ["b", "e"]), (["c"], ["d"])]


def test_a_chain_is_in_the_group_of_its_root() -> None:
    """Ties are composed to their roots before they get here."""
    assert names("c = b", "b = a") == [(["a"], ["c", "b"])]


def test_a_join_unites_the_groups_of_all_its_leaves() -> None:
    """Also those that stood apart before it was met."""
    found = names("x = q", "y = v", "qkv = (q, k, v) | concat(0)", "z = other")

    assert found == [(["q", "v", "k"], ["x", "y", "qkv"]), (["other"], ["z"])]


def test_no_ties_are_no_groups() -> None:
    """Nothing comes of nothing."""
    assert names() == []
