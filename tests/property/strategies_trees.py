"""Strategies: trees of many containers, some of whose leaves follow from others."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.property.strategies_transforms import Pipe, pipes
from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.pytrees import Tree, build_tree
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.transforms.arrays import array_spec, forward

F64 = [DTYPES["F64"]]
scales = st.sampled_from([-1.0, 2.0, 0.1, -3.7])


@dataclass(frozen=True)
class Tied:
    """A tree with its aliases, and the ties that make them."""

    tree: Tree
    ties: TieSet


@st.composite
def tied_trees(draw: st.DrawFn, *, plain: bool = False) -> Tied:
    """Draws canonical leaves, several aliases of some of them, chains among these, and leaves that are free.

    Args:
        draw: Hypothesis's.
        plain: Of dicts and lists only.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    leaves: dict[KeyPath, Any] = {KeyPath(("free",)): rng.normal(size=3)}
    ties: list[Tie] = []
    is_listed = draw(st.booleans())

    def tie(sources: tuple[KeyPath, ...], transform: Transform) -> KeyPath:
        alias = _place("alias", len(ties), is_listed)
        ties.append(Tie(alias, sources, transform))
        return alias

    for number in range(draw(st.integers(1, 3))):
        pipe: Pipe = draw(pipes(dtypes=F64, casts=F64, scales=scales))
        sources = tuple(_place("leaf", number * 9 + at, is_listed) for at in range(len(pipe.sources)))
        leaves |= {path: rng.normal(size=spec.shape) for path, spec in zip(sources, pipe.sources, strict=True)}
        transform = Transform(pipe.steps)
        alias = tie(sources, transform)
        for _ in range(draw(st.integers(0, 2))):  # more aliases of the same leaf
            tie(sources[:1], draw(_transforms_of(pipe.sources[0])))
        if len(sources) == 1 and draw(st.booleans()):  # a chain
            tie((alias,), draw(_transforms_of(transform.spec(pipe.sources))))
    rooted = TieSet(tuple(ties))
    made = {each.alias: forward(each.transform, [leaves[path] for path in each.canonicals]) for each in rooted}
    tree = build_tree({**leaves, **made})
    return Tied(tree if plain else _dress(draw, tree), rooted)


def _place(stem: str, number: int, is_listed: bool) -> KeyPath:
    """A place in a tree of dicts, or in a list of them."""
    keys: tuple[Key, ...] = (stem, number, "w") if is_listed else (stem, f"n{number}")
    return KeyPath(keys)


def _transforms_of(spec: LeafSpec) -> st.SearchStrategy[Transform]:
    """Transforms that any leaf of a shape admits."""
    texts = ["same", "neg", "scale(0.3)", "reshape(-1)" if spec.size else "same"]
    if spec.shape:
        texts += ["flip(0)", "pad(0,1,2)", "repeat(-1,2)", *(["[:1]"] if spec.shape[0] else [])]
    return st.sampled_from(texts).map(Transform.parse)


def _dress(draw: st.DrawFn, node: Tree) -> Tree:
    """Makes other containers of dicts and lists, under the same names."""
    if isinstance(node, list):
        children = [_dress(draw, child) for child in node]
        return draw(st.sampled_from([list, tuple]))(children)
    if isinstance(node, dict):
        named = {key: _dress(draw, child) for key, child in node.items()}
        kind = draw(st.sampled_from([dict, OrderedDict, None]))
        return kind(named) if kind is not None else _record(tuple(named))(**named)
    return node


@cache
def _record(names: tuple[str, ...]) -> Any:
    return namedtuple("Record", names)  # its fields are drawn


def describe(tree: Tree) -> list[tuple[tuple[int, ...], str]]:
    """Describes the leaves of a tree, in its own order."""
    import jax

    return [(tuple(leaf.shape), str(array_spec(leaf).dtype)) for leaf in jax.tree.leaves(tree)]
