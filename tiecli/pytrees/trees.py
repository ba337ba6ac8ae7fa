"""Trees: leaves in nested containers, found and put by key path.

Dicts and lists are dealt with here; `nodes` asks JAX about all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tiecli.errors import LeafNotFoundError, TreeError
from tiecli.keypaths import Key, KeyPath
from tiecli.pytrees.nodes import Tree, is_plain, list_nodes, take_leaves

MAX_DEPTH = 200
"""Most keys of a place in a tree."""

MAX_LENGTH = 65_536
"""Longest list."""


def build_tree(leaves: Mapping[KeyPath, Any], without: Iterable[KeyPath] = ()) -> Tree:
    """Builds the tree that leaves stand in: `str` keys are dict keys, `int` keys list positions.

    Args:
        leaves: By place.
        without: Places of the tree that hold nothing, though they count: a list is as long
            as if they did.

    Raises:
        TreeError: A leaf stands inside another, or names and positions are mixed.

    Example:
        >>> build_tree({KeyPath(("layers", 1, "w")): 5, KeyPath(("norm",)): 7})
        {'layers': [None, {'w': 5}], 'norm': 7}
    """
    holes = [path for path in without if path not in leaves]
    paths = [*leaves, *holes]
    if not paths:
        return {}
    if paths == [KeyPath(())]:
        return leaves.get(KeyPath(()))
    root: Tree = [] if _is_position(paths[0], 0) else {}
    for path in paths:
        _put(root, path, leaves.get(path, _HOLE))
    for path in holes:
        _drop(root, path)
    return root


def list_leaves(tree: Tree) -> Mapping[KeyPath, Any]:
    """Lists the leaves of a tree by place, in its own order; None is no leaf.

    Args:
        tree: Any pytree. Positions are `int` keys; names of attributes and keys of dicts are `str`.

    Raises:
        TreeError: Two places are spelled alike, or JAX is needed and not installed.

    Example:
        >>> {str(path): leaf for path, leaf in list_leaves({"a": [None, 3]}).items()}
        {'a[1]': 3}
    """
    return dict(_walk(tree, ())) if is_plain(tree) else list_nodes(tree)[0]


def find_leaf(tree: Tree, path: KeyPath) -> Any:
    """Gives the leaf that stands at a place.

    Raises:
        LeafNotFoundError: None does.
    """
    node = tree
    for key in path.keys:
        node = _child(node, key)
    if node is None or isinstance(node, dict | list):
        raise LeafNotFoundError(f"the tree has no leaf `{path.spelling}`", "`list_leaves` lists those that it has.")
    return node


def with_leaves(tree: Tree, leaves: Mapping[KeyPath, Any]) -> Tree:
    """Puts leaves into a copy of a tree; dicts and lists that are missing are made.

    Raises:
        TreeError: A place is inside a leaf, a name stands where positions do, or a container
            of another kind has no None there.
    """
    if not is_plain(tree):
        return _put_into_parts(tree, leaves)
    copy = _copy(tree)
    for path, leaf in leaves.items():
        _put(copy, path, leaf)
    return copy


def without_leaves(tree: Tree, paths: Iterable[KeyPath]) -> Tree:
    """Takes leaves out of a copy of a tree.

    A dict that becomes empty goes too. A list keeps its length, since the places of the
    others say how many came before: None stands where something was. In a tree of other
    containers None stands everywhere.

    Raises:
        LeafNotFoundError: One is not there.

    Example:
        >>> without_leaves({"a": [{"w": 1}, {"w": 2}], "b": {"w": 3}}, [KeyPath(("a", 0, "w")), KeyPath(("b", "w"))])
        {'a': [None, {'w': 2}]}
    """
    if not is_plain(tree):
        return take_leaves(tree, paths)
    copy = _copy(tree)
    for path in paths:
        find_leaf(copy, path)
        _drop(copy, path)
    return copy


_HOLE = object()
_HINT = "Rename one of them; `tiecli inspect` lists all leaves."


def _is_position(path: KeyPath, depth: int) -> bool:
    return len(path.keys) > depth and isinstance(path.keys[depth], int)


def _walk(node: Tree, keys: tuple[Key, ...]) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _walk(child, (*keys, key))
    elif node is not None:
        yield KeyPath(keys), node


def _put_into_parts(tree: Tree, leaves: Mapping[KeyPath, Any]) -> Tree:
    """Puts leaves into a tree of other containers: where None stands, or into dicts and lists further in."""
    nodes, structure = list_nodes(tree, is_plain)
    parts = {path: _copy(node) for path, node in nodes.items()}
    for path, leaf in leaves.items():
        prefixes = [KeyPath(path.keys[:depth]) for depth in range(len(path.keys) + 1)]
        outer = next((prefix for prefix in prefixes if prefix in parts), None)
        part = None if outer is None else parts[outer]
        if outer is not None and isinstance(part, dict | list):
            _put(part, KeyPath(path.keys[len(outer.keys) :]), leaf)
        elif outer == path and part is None:
            parts[path] = leaf
        else:
            state = "is taken" if outer == path else "has no place"
            raise TreeError(
                f"`{path.spelling}` {state} in a {type(tree).__name__}",
                "A tree of objects keeps None where a leaf was taken out; `contract` leaves it so.",
            )
    return structure.unflatten(parts.values())


def _copy(node: Tree) -> Tree:
    """Copies the containers of a tree, not its leaves."""
    if isinstance(node, dict):
        return {key: _copy(child) for key, child in node.items()}
    return [_copy(child) for child in node] if isinstance(node, list) else node


def _child(node: Tree, key: Key) -> Tree:
    """Gives what stands under a key, None if nothing does."""
    if isinstance(node, list):
        return node[key] if isinstance(key, int) and 0 <= key < len(node) else None
    return node.get(key) if isinstance(node, dict) else None


def _put(root: Tree, path: KeyPath, leaf: Any) -> None:
    if len(path.keys) > MAX_DEPTH:
        raise TreeError(f"`{path.spelling:.60}…` is {len(path.keys):,} levels deep, expected at most {MAX_DEPTH}")
    node = root
    for depth, key in enumerate(path.keys):
        _check_key(node, key, path, depth)
        if isinstance(node, list) and isinstance(key, int):
            node += [None] * (key + 1 - len(node))
        child = _child(node, key)
        if depth < len(path.keys) - 1:
            if child is None:
                child = node[key] = [] if _is_position(path, depth + 1) else {}
            node = child
        elif isinstance(child, dict | list):
            raise _crowded(path, next((inner for inner, _ in _walk(child, path.keys)), path))
        else:
            node[key] = leaf


def _check_key(node: Tree, key: Key, path: KeyPath, depth: int) -> None:
    if not isinstance(node, dict | list):
        raise _crowded(KeyPath(path.keys[:depth]), path)
    if isinstance(node, list) != isinstance(key, int):
        where = f"whose `{KeyPath(path.keys[:depth]).spelling}` holds" if depth else "of"
        found = "positions" if isinstance(node, list) else "names"
        raise TreeError(f"`{path.spelling}` has no place in a tree {where} {found}", _HINT)
    if isinstance(key, int) and not 0 <= key < MAX_LENGTH:
        raise TreeError(f"`{path.spelling}` stands at position {key}, expected one from 0 to {MAX_LENGTH - 1:,}")


def _crowded(outer: KeyPath, inner: KeyPath) -> TreeError:
    return TreeError(f"no tree holds both a leaf `{outer.spelling}` and a leaf `{inner.spelling}` inside it", _HINT)


def _drop(root: Tree, path: KeyPath) -> None:
    """Takes out what stands at a place, and the dicts that held nothing else."""
    nodes: list[Any] = [root]
    for key in path.keys[:-1]:
        nodes.append(nodes[-1][key])
    for node, key in zip(reversed(nodes), reversed(path.keys), strict=True):
        if not isinstance(node, dict):
            node[key] = None
            return
        del node[key]
        if node:
            return
