"""Ties on trees: aliases taken out of a tree of arrays, and made again from what is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from tiecli.errors import DriftedPairError, LeafNotFoundError, TieConflictError, TransformMismatchError, TreeError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.pytrees.nodes import Tree, describe_array, has_values
from tiecli.pytrees.trees import list_leaves, with_leaves, without_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms.arrays import forward
from tiecli.transforms.casts import Array, bits_of, to_numpy

Leaf = TypeVar("Leaf")
Make = Callable[[Tie, Sequence[Any]], Any]
"""Makes an alias from its canonical leaves."""


def contract(tree: Tree, ties: TieSet, *, keep: Literal["src"] | None = None) -> Tree:
    """Takes the aliases out of a tree, so that an optimizer sees each tied leaf once.

    `expand` makes them again from the canonical leaves, so none may differ from what its
    tie says, bit for bit. Inside `jit` and its like there are no values to be compared, and
    none are; neither are those of arrays that are spread over several processes.

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
        TreeError: A tied leaf is no array, or two leaves of the tree are spelled alike.
    """
    leaves = list_leaves(tree)
    involved = {path: find(leaves, path) for tie in ties for path in (tie.alias, *tie.canonicals)}
    check_ties({path: describe_array(path, leaf) for path, leaf in involved.items()}, ties)
    for tie in ties if keep is None else ():
        arrays = [involved[path] for path in (tie.alias, *tie.canonicals)]
        if all(map(has_values, arrays)):
            _check_equal(tie, [to_numpy(array) for array in arrays])
    return without_leaves(tree, [tie.alias for tie in ties])


def check_ties(specs: Mapping[KeyPath, LeafSpec], ties: TieSet) -> None:
    """Checks that every transform gives its alias's shape and dtype.

    Raises:
        LeafNotFoundError: An alias or a canonical leaf is not there.
        TransformMismatchError: A transform gives something else.
    """
    for tie in ties:
        made = tie.transform.spec([find(specs, path) for path in tie.canonicals])
        if made != find(specs, tie.alias):
            raise TransformMismatchError(f"`{tie}` gives {made}, but `{tie.alias.spelling}` is {specs[tie.alias]}")


def find(leaves: Mapping[KeyPath, Leaf], path: KeyPath) -> Leaf:
    """Gives what stands at a place.

    Raises:
        LeafNotFoundError: Nothing does.
    """
    if path not in leaves:
        raise LeafNotFoundError(f"the tree has no leaf `{path.spelling}`", "`list_leaves` lists those that it has.")
    return leaves[path]


def _check_equal(tie: Tie, arrays: Sequence[Array]) -> None:
    alias, *sources = arrays
    made = forward(tie.transform, sources)
    differing = int(np.count_nonzero(bits_of(made) != bits_of(alias)))
    if differing:
        raise DriftedPairError(
            f"`{tie.alias.spelling}` is not what `{tie}` gives: {differing:,} of {made.size:,} elements differ",
            '`keep="src"` gives up its values.',
        )


def make_alias(tie: Tie, arrays: Sequence[Any]) -> Any:
    """Makes an alias by its transform, in the namespace of its canonical leaves.

    Raises:
        TransformMismatchError: The transform does not fit them.
        TreeError: They are no arrays.
    """
    foreign = next((array for array in arrays if not isinstance(array, np.ndarray)), arrays[0])
    if not hasattr(foreign, "__array_namespace__"):
        raise TreeError(
            f"`{tie}` cannot be made of a {type(foreign).__name__}, which is no array of numpy or JAX",
            "Of leaves without values, `jax.eval_shape(lambda tree: expand(tree, ties), tree)` makes more of them.",
        )
    return forward(tie.transform, arrays, foreign.__array_namespace__())


def expand(tree: Tree, ties: TieSet, make: Make = make_alias) -> Tree:
    """Puts the aliases back into a tree.

    What is differentiated through it gives each canonical leaf its own gradient and, by
    the transforms' adjoints, that of all its aliases.

    Args:
        tree: Any pytree of numpy or JAX arrays; inside `jit` and `grad` too. Containers other
            than dicts and lists have None where aliases belong.
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
        made[tie.alias] = make(tie, [find(leaves, path) for path in tie.canonicals])
    return with_leaves(tree, made)
