"""Ties on trees: aliases taken out of a tree of arrays, and made again from what is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tiecli.errors import DriftedPairError, LeafNotFoundError, TieConflictError, TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.pytrees.trees import Tree, list_leaves, with_leaves, without_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms.arrays import array_spec, forward
from tiecli.transforms.casts import bits_of

Make = Callable[[Tie, Sequence[Any]], Any]
"""Makes an alias from its canonical leaves."""


def contract(tree: Tree, ties: TieSet, *, keep: Literal["src"] | None = None) -> Tree:
    """Takes the aliases out of a tree, so that an optimizer sees each tied leaf once.

    `expand` makes them again from the canonical leaves, so none may differ from what its
    tie says, bit for bit. Inside `jit` and its like there are no values to be compared,
    and none are.

    Args:
        tree: Any pytree of numpy or JAX arrays; inside `jit` and `grad` too.
        ties: Which leaves follow from which.
        keep: `src` gives up the values of aliases that differ.

    Returns:
        A tree of the same arrays. None stands where aliases stood; from nested dicts their
        keys are gone, with the dicts that held nothing else.

    Raises:
        LeafNotFoundError: An alias or a canonical leaf is not in the tree.
        TransformMismatchError: A transform does not give its alias's shape and dtype.
        DriftedPairError: An alias has other values than its tie gives.
        TreeError: Two leaves of the tree are spelled alike.
    """
    leaves = list_leaves(tree)
    for tie in ties:
        sources, alias = [_find(leaves, path) for path in tie.canonicals], _find(leaves, tie.alias)
        found, made = array_spec(alias), tie.transform.spec([array_spec(source) for source in sources])
        if made != found:
            raise TransformMismatchError(f"`{tie}` gives {made}, but `{tie.alias.spelling}` is {found}")
        if keep is None and not any(map(_is_traced, (alias, *sources))):
            _check_equal(tie, sources, alias)
    return without_leaves(tree, [tie.alias for tie in ties])


def _find(leaves: Mapping[KeyPath, Any], path: KeyPath) -> Any:
    if path not in leaves:
        raise LeafNotFoundError(f"the tree has no leaf `{path.spelling}`", "`list_leaves` lists those that it has.")
    return leaves[path]


def _is_traced(array: Any) -> bool:
    """Whether an array has no values to look at: inside a transformation, abstract, or partly on other hosts."""
    if isinstance(array, np.ndarray | np.generic):
        return False
    jax: Any = sys.modules.get("jax")
    return (
        jax is None
        or not isinstance(array, jax.Array)
        or (isinstance(array, jax.core.Tracer) or not array.is_fully_addressable)
    )


def _check_equal(tie: Tie, sources: Sequence[Any], alias: Any) -> None:
    made = forward(tie.transform, [np.asarray(source) for source in sources])
    differing = int(np.count_nonzero(bits_of(made) != bits_of(np.asarray(alias))))
    if differing:
        raise DriftedPairError(
            f"`{tie.alias.spelling}` is not what `{tie}` gives: {differing:,} of {made.size:,} elements differ",
            '`keep="src"` gives up its values.',
        )


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
        tree: Any pytree of numpy or JAX arrays; inside `jit` and `grad` too. One of other
            containers than dicts and lists has None where aliases belong.
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
