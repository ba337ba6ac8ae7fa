"""Ties on trees: aliases out, aliases back, and what does not fit."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tiecli.errors import LeafNotFoundError, TieConflictError, TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.pytrees import contract, expand
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform

jax = pytest.importorskip("jax", reason="jax is not installed")


def ties(*texts: str) -> TieSet:
    found = []
    for text in texts:
        left, _, right = text.partition(" = ")
        sources, _, transform = right.partition(" | ")
        paths = tuple(KeyPath.parse(source) for source in sources.split(","))
        found.append(Tie(KeyPath.parse(left), paths, Transform.parse(transform or "same")))
    return TieSet(tuple(found))


def example() -> dict[str, Any]:
    table = np.arange(6.0).reshape(3, 2)
    return {"wte": table, "head": {"kernel": table.T.copy()}, "layers": [{"w": table[:2]}, {"w": table[:2]}]}


TIES = ties("head.kernel = wte | transpose", "layers[1].w = layers[0].w")


def same(left: Any, right: Any) -> bool:
    """Whether two trees have the same structure and the same arrays."""
    return bool(
        jax.tree.structure(left) == jax.tree.structure(right)
        and all(jax.tree.leaves(jax.tree.map(np.array_equal, left, right)))
    )


def test_an_expanded_tree_is_the_tree_before() -> None:
    """Contracting takes the aliases out, expanding puts them back, with numpy as with JAX arrays."""
    tree = example()
    contracted = contract(tree, TIES)

    assert same(contracted, {"wte": tree["wte"], "layers": [tree["layers"][0], None]})
    assert same(expand(contracted, TIES), tree)
    assert isinstance(expand(contracted, TIES)["head"]["kernel"], np.ndarray)
    live = jax.tree.map(jax.numpy.asarray, contracted)
    assert isinstance(expand(live, TIES)["head"]["kernel"], jax.Array)
    assert same(expand(live, TIES), jax.tree.map(jax.numpy.asarray, tree))


def test_gradients_gather_at_the_canonical_leaf() -> None:
    """Inside `jit` and `grad`, an embedding receives what came to it and, turned, what came to the head."""

    def loss(tree: Any) -> Any:
        return (2 * tree["wte"]).sum() + (tree["head"]["kernel"] * np.arange(6.0).reshape(2, 3)).sum()

    contracted = {"wte": example()["wte"], "layers": [{"w": np.ones((2, 2))}, None]}
    found = jax.jit(jax.grad(lambda tree: loss(expand(tree, TIES))))(contracted)

    assert np.array_equal(found["wte"], 2 + np.arange(6.0).reshape(2, 3).T)


def test_many_leaves_make_one() -> None:
    """A fused leaf is made of its parts, and a chain is followed to its root."""
    joined = ties("qk = q,k | concat(0)", "k2 = k", "k3 = k2 | neg")
    tree = expand({"q": np.ones(1), "k": np.full(2, 3.0)}, joined)

    assert {name: leaf.tolist() for name, leaf in tree.items()} == {
        "q": [1.0],
        "k": [3.0, 3.0],
        "qk": [1.0, 3.0, 3.0],
        "k2": [3.0, 3.0],
        "k3": [-3.0, -3.0],
    }


def test_aliases_keep_their_own_arithmetic() -> None:
    """A cast rounds as it does on disk, whatever the array's namespace."""
    cast = ties("half = full | cast(bf16)")
    for array in (np.array([1.00390625], np.float32), jax.numpy.array([1.00390625], "float32")):
        assert expand({"full": array}, cast)["half"].dtype == ml_dtypes.bfloat16


def test_what_does_not_fit_is_refused() -> None:
    """An alias that is there already, leaves that are not, and shapes that a transform does not give."""
    with pytest.raises(TieConflictError, match=r"`head\.kernel` is to be made from `wte`, but is in the tree already"):
        expand(example(), TIES)
    with pytest.raises(LeafNotFoundError, match="the tree has no leaf `wte`"):
        expand({"layers": [{"w": np.ones(1)}]}, TIES)
    with pytest.raises(LeafNotFoundError, match=r"the tree has no leaf `head\.kernel`"):
        contract({"wte": np.ones((3, 2))}, TIES)
    with pytest.raises(TransformMismatchError, match=r"`head\.kernel = wte` gives F64 3×2, but .* is F64 2×3"):
        contract(example(), ties("head.kernel = wte"))
