"""Ties on trees: aliases taken out of a tree of arrays, and made again from what is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tiecli.errors import LeafNotFoundError, TieConflictError, TransformMismatchError
from tiecli.pytrees.trees import Tree, find_leaf, list_leaves, with_leaves, without_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms.arrays import array_spec, forward

Make = Callable[[Tie, Sequence[Any]], Any]
"""Makes an alias from its canonical leaves."""


def contract(tree: Tree, ties: TieSet) -> Tree:
    """Takes the aliases out of a tree, so that an optimizer sees each tied leaf once.

    Their values are given up: `expand` makes them from the canonical leaves.

    Args:
        tree: Nested dicts and lists of numpy or JAX arrays; inside `jit` and `grad` too.
        ties: Which leaves follow from which.

    Returns:
        A tree of the same arrays. Dicts that held aliases only are gone; in lists None
        stands in their place.

    Raises:
        LeafNotFoundError: An alias or a canonical leaf is not in the tree.
        TransformMismatchError: A transform does not give its alias's shape and dtype.
    """
    for tie in ties:
        sources = [array_spec(find_leaf(tree, path)) for path in tie.canonicals]
        found, made = array_spec(find_leaf(tree, tie.alias)), tie.transform.spec(sources)
        if made != found:
            raise TransformMismatchError(f"`{tie}` gives {made}, but `{tie.alias.spelling}` is {found}")
    return without_leaves(tree, [tie.alias for tie in ties])


def make_alias(tie: Tie, arrays: Sequence[Any]) -> Any:
    """Makes an alias by its transform, in the namespace of its canonical leaves.

    Raises:
        TransformMismatchError: The transform does not fit them.
    """
    foreign = next((array for array in arrays if not isinstance(array, np.ndarray)), arrays[0])
    return forward(tie.transform, arrays, foreign.__array_namespace__())


def expand(tree: Tree, ties: TieSet, make: Make = make_alias) -> Tree:
    """Puts the aliases back into a tree.

    What is differentiated through it gives each canonical leaf its own gradient and, by
    the transforms' adjoints, that of all its aliases.

    Args:
        tree: Nested dicts and lists of numpy or JAX arrays; inside `jit` and `grad` too.
        ties: Which leaves follow from which.
        make: How an alias is made; by its transform, in the leaves' own arithmetic.

    Raises:
        LeafNotFoundError: A canonical leaf is not in the tree.
        TieConflictError: An alias is in the tree.
        TransformMismatchError: A transform does not fit.
        TreeError: An alias has no place in the tree.

    Example:
        >>> from tiecli.keypaths import KeyPath
        >>> from tiecli.transforms import TRANSPOSE
        >>> ties = TieSet((Tie(KeyPath(("dec", "w")), (KeyPath(("enc", "w")),), TRANSPOSE),))
        >>> expand({"enc": {"w": np.array([[1, 2]])}}, ties)["dec"]["w"].tolist()
        [[1], [2]]
    """
    leaves = list_leaves(tree)
    made = {}
    for tie in ties:
        if tie.alias in leaves:
            raise TieConflictError(
                f"`{tie.alias.spelling}` is to be made from `{tie.canonical}`, but is in the tree already",
                "`contract` takes it out.",
            )
        for path in tie.canonicals:
            if path not in leaves:
                raise LeafNotFoundError(f"`{tie}`: the tree has no leaf `{path.spelling}`")
        made[tie.alias] = make(tie, [leaves[path] for path in tie.canonicals])
    return with_leaves(tree, made)
