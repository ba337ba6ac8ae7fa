"""Nodes: trees of any container that JAX knows: dataclasses, named tuples, Equinox modules, Flax states."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tiecli.errors import LeafNotFoundError, TreeError
from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import DType, LeafSpec, find_dtype

Tree = Any
"""A dict, a list, any other container that JAX knows, a leaf, or None where there is no leaf."""

_NUMBERS = (bool, int, float, complex, str, bytes)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of numbers, though it may have no values yet."""
    return _find_dtype(leaf) is not None


def describe_array(path: KeyPath, leaf: Any) -> LeafSpec:
    """Says what the array at a place is.

    Raises:
        TreeError: It is none, or no checkpoint has such elements.
    """
    dtype = _find_dtype(leaf)
    if dtype is not None:
        return LeafSpec(tuple(leaf.shape), dtype)
    found = getattr(getattr(leaf, "dtype", None), "name", None)
    if not isinstance(found, str) or not hasattr(leaf, "shape"):
        raise TreeError(
            f"`{path.spelling}` is a {type(leaf).__name__}, which is no array of numpy or JAX",
            "Take such leaves out first, for example with `equinox.filter(tree, equinox.is_array)`.",
        )
    hint = "Random keys become numbers by `jax.random.key_data`." if found.startswith("key<") else "Cast it first."
    raise TreeError(f"`{path.spelling}` is an array of dtype {found}, which no checkpoint holds", hint)


def has_values(array: Any) -> bool:
    """Whether all values of an array are here: not inside a transformation of JAX, nor on other processes."""
    jax: Any = sys.modules.get("jax")
    if jax is not None and isinstance(array, jax.core.Tracer | jax.ShapeDtypeStruct):
        return False
    return bool(getattr(array, "is_fully_addressable", True))


def _find_dtype(leaf: Any) -> DType | None:
    name = getattr(getattr(leaf, "dtype", None), "name", None)
    return find_dtype(name) if isinstance(name, str) and hasattr(leaf, "shape") else None


def is_plain(tree: Tree) -> bool:
    """Whether a tree is nested dicts and lists of arrays and numbers, for which JAX is not needed.

    Example:
        >>> is_plain({"a": [1, None]}), is_plain({"a": (1, 2)}), is_plain({0: 1})
        (True, False, False)
    """
    if type(tree) is dict:
        return all(type(key) is str and is_plain(child) for key, child in tree.items())
    if type(tree) is list:
        return all(map(is_plain, tree))
    return tree is None or isinstance(tree, _NUMBERS) or (hasattr(tree, "dtype") and hasattr(tree, "shape"))


def list_nodes(tree: Tree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[dict[KeyPath, Any], Any]:
    """Takes a tree apart as JAX does.

    Args:
        tree: Any pytree.
        is_leaf: Where to stop on the way down, beside leaves.

    Returns:
        What stands at each place, and the structure that it can be put back into.

    Raises:
        TreeError: Two places are spelled alike, or JAX is not installed.
    """
    try:
        entries, structure = import_jax().tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)
    except ValueError as error:
        # Source: jax 0.10.2; no other error is said to come of sorting the keys of a dict.
        raise TreeError(f"JAX cannot take the tree apart: {error}", "Keys of one dict must be of one kind.") from error
    found: dict[KeyPath, Any] = {}
    for keys, leaf in entries:
        path = KeyPath(tuple(map(_to_key, keys)))
        if path in found:
            raise TreeError(f"two leaves of the tree stand at `{path.spelling}`", "Keys of a dict must differ as text.")
        found[path] = leaf
    return found, structure


def list_empty(tree: Tree) -> Mapping[KeyPath, str]:
    """Lists the places of a tree that hold nothing, each with what stands there as Orbax names it: `None`, `Dict`, ….

    Example:
        >>> {str(path): kind for path, kind in list_empty({"a": None, "b": [(), 1]}).items()}
        {'a': 'None', 'b[0]': 'Tuple'}
    """
    if is_plain(tree):
        return dict(_list_empty(tree, ()))
    leaves = import_jax().tree_util.tree_leaves
    nodes, _ = list_nodes(tree, lambda node: not leaves(node))
    return {path: _name_empty(node) for path, node in nodes.items() if not leaves(node)}


def _list_empty(node: Tree, keys: tuple[Key, ...]) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(node, dict | list) and node:
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _list_empty(child, (*keys, key))
    elif node is None or isinstance(node, dict | list):
        yield KeyPath(keys), _name_empty(node)


def _name_empty(node: Any) -> str:
    """Names an empty container as Orbax does."""
    match node:
        case dict():
            return "Dict"
        case list():
            return "List"
        case tuple() if not hasattr(node, "_fields"):
            return "Tuple"
        case _:
            return "None"


def take_leaves(tree: Tree, paths: Iterable[KeyPath]) -> Tree:
    """Puts None where some leaves stand, in a copy of a tree: what JAX takes for no leaf.

    Raises:
        LeafNotFoundError: One is not there.
    """
    found, structure = list_nodes(tree)
    gone = set(paths)
    for path in gone - found.keys():
        raise LeafNotFoundError(f"the tree has no leaf `{path.spelling}`", "`list_leaves` lists those that it has.")
    return structure.unflatten([None if path in gone else leaf for path, leaf in found.items()])


def is_none(node: Any) -> bool:
    """Whether a node is None, which JAX takes for no leaf."""
    return node is None


def _to_key(entry: Any) -> Key:
    """Reads one step of JAX's own key paths: positions are numbers, all else is text."""
    for attribute in ("idx", "name", "key"):
        if hasattr(entry, attribute):
            key = getattr(entry, attribute)
            at_position = attribute == "idx" or type(entry).__name__ == "FlattenedIndexKey"
            return key if isinstance(key, int) and at_position else str(key)
    return str(entry)


def import_jax() -> Any:
    """Imports JAX, which alone can take apart any container.

    Raises:
        TreeError: It is not installed.
    """
    try:
        import jax
    except ImportError as error:
        raise TreeError(
            "only JAX can take apart trees of other containers than dicts and lists, and it is not installed",
            "Install it: `pip install 'tiecli[verify]'`.",
        ) from error
    return jax
