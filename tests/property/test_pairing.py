"""Pairing: every destination has one source, and nothing is left over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies_keypaths import names, plain_names
from tiecli.errors import LeafNotFoundError, PairingError
from tiecli.keypaths import KeyPath
from tiecli.patterns import pair_leaves, select_leaves

layers = st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True)
sides = st.one_of(
    plain_names, st.sampled_from(["*", "**", "a.*", "a.{i}", "{i}.w", "{a,b}.w", "{q,k}.*", "{0..10}.*", "**.w"])
)


@given(layers, st.randoms(use_true_random=False))
def test_named_captures_join_whatever_the_order(numbers: list[int], random: object) -> None:
    """`{i}` pairs the leaves of one layer, in whatever order the checkpoint stores them."""
    leaves = [KeyPath.from_name(f"h.{number}.{name}") for number in numbers for name in ("q", "k")]
    random.shuffle(leaves)  # type: ignore[attr-defined]

    pairs = pair_leaves("h.{i}.q", "h.{i}.k", leaves)

    assert sorted(str(alias) for _, alias in pairs) == sorted(f"h.{number}.k" for number in numbers)
    assert all(source.keys[1] == alias.keys[1] for (source,), alias in pairs)


@given(layers, layers)
def test_leaves_left_over_are_refused_and_listed(left: list[int], right: list[int]) -> None:
    """Sides that differ in their captures are refused, with a leaf of the difference named."""
    leaves = [KeyPath.from_name(f"{name}.{n}") for name, side in (("q", left), ("k", right)) for n in side]
    extra = {f"q.{n}" for n in set(left) - set(right)} | {f"k.{n}" for n in set(right) - set(left)}

    message, pairs = "", ()
    try:
        pairs = pair_leaves("q.{i}", "k.{i}", leaves)
    except PairingError as error:
        message = error.message

    assert {name for name in extra if f"`{name}`" in message} == extra
    assert bool(message) == bool(extra)
    assert len(pairs) == (0 if extra else len(left))


@given(names, names, st.lists(names, max_size=4))
def test_two_names_make_one_pair(src: str, dst: str, others: list[str]) -> None:
    """The full names of two leaves pair them, whatever characters they hold."""
    leaves = {KeyPath.from_name(name) for name in (src, dst, *others)}
    if src == dst:
        return

    assert pair_leaves(src, dst, leaves) == (((KeyPath.from_name(src),), KeyPath.from_name(dst)),)


@given(sides, sides, st.lists(plain_names, min_size=1, max_size=12, unique=True))
def test_pairs_use_every_leaf_once(src: str, dst: str, stored: list[str]) -> None:
    """If anything pairs: no leaf follows from itself or twice, and each selected leaf takes part."""
    leaves = tuple(KeyPath.from_name(name) for name in stored)
    try:
        pairs = pair_leaves(src, dst, leaves)
    except (PairingError, LeafNotFoundError):
        return

    aliases = [alias for _, alias in pairs]
    sources = {source for (source,), _ in pairs}
    assert len(set(aliases)) == len(aliases)
    assert all(alias not in used for used, alias in pairs)
    assert sources == set(select_leaves(src, leaves))
    assert set(aliases) | sources >= set(select_leaves(dst, leaves)) >= set(aliases)
