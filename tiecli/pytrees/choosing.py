"""Choosing: the ways to say which leaves of a live tree are one, each of which gives a `TieSet`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiecli.errors import LeafNotFoundError, PairingError, TreeError
from tiecli.globs import KeyPattern
from tiecli.keypaths import KeyPath
from tiecli.patterns import pair_leaves, select_leaves
from tiecli.pytrees.marks import Mark, follow
from tiecli.pytrees.nodes import list_nodes
from tiecli.pytrees.trees import Tree, list_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME, Transform, compose

Select = type | Callable[[Any], bool] | str
"""Which nodes are meant: those of a class, those for which a function says so, or a pattern of their places."""


def tie_names(tree: Tree, names: Mapping[str, str]) -> TieSet:
    """States ties by name: what follows, and what it follows from.

    Args:
        tree: Any pytree.
        names: `alias -> canonical`, or `alias -> canonical | transform`; both may be
            patterns, and `(q, k) | concat(0)` joins several leaves.

    Raises:
        LeafNotFoundError: A name matches no leaf.
        PairingError: Two patterns do not pair up.
        TransformSyntaxError: A transform does not parse.
        TieConflictError: The ties contradict each other.

    Example:
        >>> for tie in tie_names({"wte": 0, "head": 0, "out": 0}, {"head": "wte | transpose", "out": "wte"}):
        ...     print(tie)
        head = wte | transpose
        out = wte
    """
    paths = tuple(list_leaves(tree))
    ties = []
    for alias, text in names.items():
        src, _, transform = text.partition(" | ")
        parsed = Transform.parse(transform) if transform else SAME
        ties += [Tie(target, sources, parsed) for sources, target in pair_leaves(src.strip(), alias, paths)]
    return TieSet(tuple(ties))


def tie_nodes(
    tree: Tree,
    where: Callable[[Tree], Any],
    get: Callable[[Tree], Any],
    transform: str | Transform = SAME,
) -> TieSet:
    """States ties by two functions, as `equinox.nn.Shared` takes them: `where` follows from `get`.

    Args:
        tree: Any pytree of arrays.
        where: Takes the tree and gives the node that follows, or several.
        get: Takes the tree and gives the node it follows from, or as many; a leaf may be
            turned on the way, `lambda tree: tree.embed.weight.T`.
        transform: What is done to every leaf besides.

    Returns:
        A tie for each leaf of the nodes, which must be built alike.

    Raises:
        PairingError: The nodes are not built alike.
        TreeError: A function cannot be followed.
        TieConflictError: The ties contradict each other: a cycle, or a leaf that follows from two.

    Example:
        >>> import numpy as np
        >>> tree = {"enc": {"w": np.zeros((2, 3))}, "dec": {"w": np.zeros((3, 2))}}
        >>> print(*tie_nodes(tree, lambda t: t["dec"]["w"], lambda t: t["enc"]["w"].T))
        dec.w = enc.w | transpose
    """
    then = Transform.parse(transform) if isinstance(transform, str) else transform
    targets, sources = follow(where, tree, "where"), follow(get, tree, "get")
    if len(targets) != len(sources):
        raise PairingError(f"`where` gives {len(targets)} nodes, `get` gives {len(sources)}")
    ties = []
    for target, source in zip(targets, sources, strict=True):
        _check_alike(target, source)
        ties += [_tie(target[place], source[place], then) for place in target]
    return TieSet(tuple(ties))


def _tie(target: Mark, source: Mark, then: Transform) -> Tie:
    if not target.transform.is_same:
        raise TreeError(
            f"`where` gives `{target.path.spelling} | {target.transform}`, which is no leaf of the tree",
            "Turn the other side: what follows is a whole leaf.",
        )
    return Tie(target.path, (source.path,), compose(source.transform, then))


def _check_alike(target: Mapping[KeyPath, Mark], source: Mapping[KeyPath, Mark]) -> None:
    alone = [side for side in (target.keys() - source.keys(), source.keys() - target.keys()) if side]
    if alone:
        names = ", ".join(sorted(f"`{path.spelling}`" for path in alone[0]))
        raise PairingError(
            f"the two nodes are not built alike: only one of them has {names}",
            "Name leaves that both have.",
        )


def tie_modules(tree: Tree, select: Select, leaves: str | None = None) -> TieSet:
    """Ties all nodes that are selected to the first of them, leaf by leaf.

    Args:
        tree: Any pytree of arrays.
        select: Which nodes: a class, a function, or a pattern of places, such as `layers[*]`.
        leaves: Pattern of the leaves within a node that are shared; None for all, which
            then must be built alike.

    Raises:
        LeafNotFoundError: Fewer than two nodes are selected, or none has such leaves.
        PairingError: The nodes are not built alike.

    Example:
        >>> tree = {"layers": [{"w": 0, "b": 0}, {"w": 0, "b": 0}]}
        >>> print(*tie_modules(tree, "layers[*]", "w"))
        layers[1].w = layers[0].w
    """
    nodes = _select_nodes(tree, select)
    if len(nodes) < 2:
        found = f"only `{KeyPath(nodes[0]).spelling}`" if nodes else "nothing"
        raise LeafNotFoundError(f"{found} is selected by {select!r}, expected two nodes or more")
    inside = {node: _list_inside(tree, node, leaves) for node in nodes}
    first, *others = nodes
    ties = []
    for node in others:
        alone = set(inside[node]) ^ set(inside[first])
        if alone:
            names = ", ".join(sorted(f"`{path.spelling}`" for path in alone))
            raise PairingError(
                f"`{KeyPath(first).spelling}` and `{KeyPath(node).spelling}` are not built alike: "
                f"only one of them has {names}",
                "Name the leaves that all have as `leaves`.",
            )
        ties += [Tie(KeyPath(node + path.keys), (KeyPath(first + path.keys),), SAME) for path in inside[node]]
    return TieSet(tuple(ties))


def _select_nodes(tree: Tree, select: Select) -> list[tuple[Any, ...]]:
    """Lists the places of the selected nodes, none inside another."""
    if not isinstance(select, str):
        chosen = select

        def is_chosen(node: Any) -> bool:
            """Whether a node is meant."""
            return isinstance(node, chosen) if isinstance(chosen, type) else bool(chosen(node))

        return [path.keys for path, node in list_nodes(tree, is_chosen)[0].items() if is_chosen(node)]
    pattern = KeyPattern.parse(select)
    found: dict[tuple[Any, ...], None] = {}
    for path in list_leaves(tree):
        prefixes = (path.keys[:depth] for depth in range(1, len(path.keys) + 1))
        first = next((keys for keys in prefixes if pattern.match(KeyPath(keys)) is not None), None)
        if first is not None:
            found[first] = None
    return list(found)


def _list_inside(tree: Tree, node: tuple[Any, ...], leaves: str | None) -> Sequence[KeyPath]:
    """Lists the leaves of a node by their places within it."""
    depth = len(node)
    inside = tuple(KeyPath(path.keys[depth:]) for path in list_leaves(tree) if path.keys[:depth] == node)
    return inside if leaves is None else select_leaves(leaves, inside)
