"""Optimizers of contracted trees: no state for an alias, and the training of a model that is written tied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.peer.trained_trees import RNG, TOKENS, assert_close, cross_entropy, train
from tiecli.errors import DriftedPairError
from tiecli.pytrees import (
    contract,
    expand,
    load,
    save,
    tie_names,
)

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `test`")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("float64")


OPTIMIZERS = {
    "adamw": lambda: optax.adamw(1e-2),
    "momentum": lambda: optax.sgd(1e-2, momentum=0.9),
    "lion": lambda: optax.lion(1e-2),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
    "accumulated": lambda: optax.MultiSteps(optax.adam(1e-2), 2),
    "grouped": lambda: optax.multi_transform(
        {"all": optax.adam(1e-2)}, lambda tree: jax.tree.map(lambda _: "all", tree)
    ),
    "masked": lambda: optax.masked(optax.adam(1e-2), lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)),
    "averaged": lambda: optax.chain(optax.adam(1e-2), optax.ema(0.9)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_see_one_leaf(name: str, tmp_path: Path) -> None:
    """No state is kept for an alias; training is that of a model written tied; the whole state is saved and read."""
    table = RNG.normal(size=(64, 8))
    tree = {"wte": table, "mix": RNG.normal(size=(8, 8)), "bias": np.zeros(8), "head": {"kernel": table.T}}
    ties = tie_names(tree, {"head.kernel": "wte | transpose"})
    tied = jax.tree.map(jnp.asarray, contract(tree, ties))

    def loss(tree: Any, head: Any) -> Any:
        logits = jnp.tanh(tree["wte"][TOKENS] @ tree["mix"] + tree["bias"]) @ head
        return cross_entropy(logits)

    def ours(tied: Any) -> Any:
        full = expand(tied, ties)
        return loss(full, full["head"]["kernel"])

    optimizer = OPTIMIZERS[name]()
    params, state = train(optimizer, tied, ours)
    expected, moments = train(optimizer, tied, lambda tree: loss(tree, tree["wte"].T))

    assert_close(params, expected)
    assert_close(state, moments)
    # Of 1,096 numbers 512 are the head's, which is why the state is about half of what it was.
    assert count_numbers(optimizer.init(tied)) < 0.55 * count_numbers(optimizer.init(tree))
    both = tie_names((tree, state), {"[0].head.kernel": "[0].wte | transpose"})
    save((params, state), tmp_path / "orbax", both, sync=False)
    like = (params, optimizer.init(tied))
    assert_close(load(tmp_path / "orbax", like=like, expanded=False), (params, state), 0)
    assert_close(load(tmp_path / "orbax")[0], expand(params, ties), 0)


def count_numbers(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_moments_of_replicas_are_contracted_like_any_leaf() -> None:
    """Copies that are fed the same gradients have equal moments; of leaves trained apart they are refused."""
    tree = {"a": RNG.normal(size=(3, 2)), "b": RNG.normal(size=(3, 2))}
    names = {f"[0].{slot}.b": f"[0].{slot}.a" for slot in ("mu", "nu")}

    _, apart = train(optax.adam(0.1), tree, lambda t: (t["a"] ** 2).sum() + (t["b"] ** 4).sum())
    with pytest.raises(DriftedPairError, match=r"`\[0\]\.mu\.b`"):
        contract(apart, tie_names(apart, names))

    same = {"a": tree["a"], "b": tree["a"]}
    _, replicas = train(optax.adam(0.1), same, lambda t: (t["a"] ** 2).sum() + (t["b"] ** 2).sum())
    ties = tie_names(replicas, names)
    contracted = contract(replicas, ties)
    assert contracted[0].mu["b"] is contracted[0].nu["b"] is None
    assert_close(expand(contracted, ties), replicas, 0)
