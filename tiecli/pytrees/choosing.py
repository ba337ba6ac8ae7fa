"""Choosing: the ways to say which leaves of a live tree are one, each of which gives a `TieSet`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import UnionType
from typing import Any

from tiecli.errors import LeafNotFoundError, PairingError, TreeError
from tiecli.globs import KeyPattern
from tiecli.keypaths import Key, KeyPath, spell_leaves
from tiecli.patterns import pair_leaves, select_leaves
from tiecli.pytrees.nodes import Tree, is_array, list_nodes
from tiecli.pytrees.operations import Traced
from tiecli.pytrees.tracing import follow
from tiecli.pytrees.trees import list_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME, Transform

Keys = tuple[Key, ...]
Select = type | UnionType | Callable[[Any], bool] | str
"""Which nodes are meant: those of a class, those for which a function says so, or a pattern of their places."""


def tie_names(tree: Tree, names: Mapping[str, str]) -> TieSet:
    """States ties by name: what follows, and what it follows from.

    Args:
        tree: Any pytree of arrays.
        names: `alias -> canonical`, or `alias -> canonical | transform`; both may be
            patterns, and `(q, k) | concat(0)` joins several leaves.

    Raises:
        LeafNotFoundError: A name matches no leaf.
        PairingError: Two patterns do not pair up.
        TransformSyntaxError: A transform does not parse.
        TieConflictError: The ties contradict each other.

    Example:
        >>> import numpy as np
        >>> tree = {name: np.zeros((2, 2)) for name in ("wte", "head", "out")}
        >>> for tie in tie_names(tree, {"head": "wte | transpose", "out": "wte"}):
        ...     print(tie)
        head = wte | transpose
        out = wte
    """
    paths = _list_arrays(tree)
    ties = []
    for alias, text in names.items():
        src, _, transform = text.partition("|")
        parsed = Transform.parse(transform.strip()) if transform else SAME
        ties += [Tie(target, sources, parsed) for sources, target in pair_leaves(src.strip(), alias, paths)]
    return TieSet(tuple(ties))


def tie_nodes(tree: Tree, where: Callable[[Tree], Any], get: Callable[[Tree], Any]) -> TieSet:
    """States ties by two functions, as `equinox.nn.Shared` takes them: `where` follows from `get`.

    Both are run once, on leaves that have no values; what `get` does to them is read as a
    transform. A leaf may be turned, cut, reshaped, repeated, cast, scaled and joined with
    others, by whatever function of JAX or einops.

    Args:
        tree: Any pytree of arrays.
        where: Takes the tree and gives the node that follows, or several in a list or tuple.
        get: Takes the tree and gives the node it follows from, or as many.

    Returns:
        A tie for each leaf of the nodes, which must be built alike.

    Raises:
        PairingError: The nodes are not built alike.
        TreeError: A function fails, or does what no transform describes.
        TransformMismatchError: `get` does to a leaf what its dtype does not admit.
        TieConflictError: The ties contradict each other: a cycle, or a leaf that follows from two.

    Example:
        >>> import numpy as np
        >>> tree = {"enc": {"w": np.zeros((2, 3))}, "dec": {"w": np.zeros((3, 2))}}
        >>> print(*tie_nodes(tree, lambda t: t["dec"]["w"], lambda t: t["enc"]["w"].T))
        dec.w = enc.w | transpose
    """
    targets, sources = follow(where, tree, "where"), follow(get, tree, "get")
    if len(targets) == len(sources) == 1:
        # A node that holds one leaf may follow from the leaf itself, such as a Flax variable from an array.
        targets, sources = ({KeyPath(()): traced} for side in (targets, sources) for traced in side.values())
    _check_alike("`where`", targets.keys(), "`get`", sources.keys())
    return TieSet(tuple(_tie(target, sources[place]) for place, target in targets.items()))


def _tie(target: Traced, source: Traced) -> Tie:
    if not target.transform.is_same or len(target.paths) > 1:
        raise TreeError(
            f"`where` gives `{spell_leaves(target.paths)} | {target.transform}`, which is no leaf of the tree",
            "Turn the other side: what follows is a whole leaf.",
        )
    return Tie(target.paths[0], source.paths, source.transform)


def _check_alike(first: str, left: Collection[KeyPath], second: str, right: Collection[KeyPath]) -> None:
    for name, alone in ((first, set(left) - set(right)), (second, set(right) - set(left))):
        if alone:
            names = ", ".join(sorted(f"`{path.spelling}`" for path in alone))
            raise PairingError(
                f"{first} and {second} are not built alike: only {name} has {names}", "Name leaves that both have."
            )


def tie_modules(tree: Tree, select: Select, leaves: Select | None = None) -> TieSet:
    """Ties all nodes that are selected to the first of them, leaf by leaf.

    Args:
        tree: Any pytree of arrays.
        select: Which nodes: a class, a function, or a pattern of places, such as `layers[*]`.
        leaves: What is shared of a node: a pattern of places within it, or a class or a
            function that picks nodes and leaves within it. None for all, which then must be
            built alike.

    Raises:
        LeafNotFoundError: Fewer than two nodes are selected, or none has such leaves.
        PairingError: The nodes are not built alike.

    Example:
        >>> import numpy as np
        >>> tree = {"layers": [{"w": np.zeros(3), "b": np.zeros(1)} for _ in range(2)]}
        >>> print(*tie_modules(tree, "layers[*]", "w"))
        layers[1].w = layers[0].w
    """
    nodes = _select_nodes(tree, select)
    if len(nodes) < 2:
        found = f"only `{KeyPath(nodes[0]).spelling}`" if nodes else "nothing"
        raise LeafNotFoundError(f"{found} is selected by {select!r}, expected two nodes or more")
    arrays = _list_arrays(tree)
    if leaves is not None and not isinstance(leaves, str):
        chosen = set(_select_nodes(tree, leaves))
        arrays = tuple(
            path for path in arrays if any(path.keys[:depth] in chosen for depth in range(len(path.keys) + 1))
        )
        leaves = None
    first, *others = nodes
    inside = _list_inside(arrays, first, leaves)
    if not inside:
        raise LeafNotFoundError(f"`{KeyPath(first).spelling}` has no such leaf")
    ties = []
    for node in others:
        names = [f"`{KeyPath(each).spelling}`" for each in (first, node)]
        _check_alike(names[0], inside, names[1], _list_inside(arrays, node, leaves))
        ties += [Tie(KeyPath(node + path.keys), (KeyPath(first + path.keys),), SAME) for path in inside]
    return TieSet(tuple(ties))


def _select_nodes(tree: Tree, select: Select) -> list[Keys]:
    """Lists the places of the selected nodes, none inside another."""
    if not isinstance(select, str):
        chosen = select

        def is_chosen(node: Any) -> bool:
            """Whether a node is meant."""
            return isinstance(node, chosen) if isinstance(chosen, type | UnionType) else bool(chosen(node))

        return [path.keys for path, node in list_nodes(tree, is_chosen)[0].items() if is_chosen(node)]
    pattern = KeyPattern.parse(select)
    found: dict[Keys, None] = {}
    for path in _list_arrays(tree):
        prefixes = (path.keys[:depth] for depth in range(1, len(path.keys) + 1))
        first = next((keys for keys in prefixes if pattern.match(KeyPath(keys)) is not None), None)
        if first is not None:
            found[first] = None
    return list(found)


def _list_arrays(tree: Tree) -> tuple[KeyPath, ...]:
    return tuple(path for path, leaf in list_leaves(tree).items() if is_array(leaf))


def _list_inside(arrays: Sequence[KeyPath], node: Keys, leaves: str | None) -> Sequence[KeyPath]:
    """Lists the arrays of a node by their places within it."""
    depth = len(node)
    inside = tuple(KeyPath(path.keys[depth:]) for path in arrays if path.keys[:depth] == node)
    return inside if leaves is None else select_leaves(leaves, inside)
