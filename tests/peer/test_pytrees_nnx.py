"""A shared Variable of Flax nnx beside a tied state of one that shares nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.peer.trained_trees import TARGETS, TOKENS, peer
from tiecli.pytrees import (
    contract,
    expand,
    list_leaves,
    load,
    read_ties,
    save,
    tie_names,
)

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `test`")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("form", ["state.safetensors", "orbax"])
def test_states_of_nnx(form: str, tmp_path: Path) -> None:
    """A split state is contracted, expanded and merged; the gradients are those of a shared Variable."""
    nnx = peer("flax.nnx")

    class Model(nnx.Module):  # type: ignore[misc, name-defined]  # a peer's class
        def __init__(self, *, shares: bool) -> None:
            rngs = nnx.Rngs(0)
            self.embed = nnx.Embed(11, 4, rngs=rngs, param_dtype=jnp.float64)
            self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs, param_dtype=jnp.float64) for _ in range(3)])
            if shares:
                for layer in self.layers[1:]:
                    layer.kernel = self.layers[0].kernel
            else:
                self.head = nnx.Linear(4, 11, use_bias=False, rngs=rngs, param_dtype=jnp.float64)

        def __call__(self, tokens: Any) -> Any:
            hidden = self.embed(tokens)
            for layer in self.layers:
                hidden = jnp.tanh(layer(hidden))
            return self.head(hidden) if hasattr(self, "head") else self.embed.attend(hidden)

    def loss(model: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(model(TOKENS), TARGETS).mean()

    theirs = nnx.to_pure_dict(nnx.grad(loss)(Model(shares=True)))
    graph, state = nnx.split(Model(shares=False))
    ties = tie_names(state, {"head.kernel": "embed.embedding | transpose", "layers.{1,2}.kernel": "layers.0.kernel"})
    assert {tie.alias.spelling for tie in ties} == {
        "head.kernel.value", "layers.1.kernel.value", "layers.2.kernel.value",
    }  # fmt: skip
    tied = contract(state, ties, keep="src")
    ours = jax.jit(jax.grad(lambda tied: loss(nnx.merge(graph, expand(tied, ties)))))(tied)

    found = {path.spelling.removesuffix(".value"): leaf for path, leaf in list_leaves(ours).items()}
    expected = {path.spelling: leaf for path, leaf in list_leaves(theirs).items()}
    assert found.keys() == expected.keys()
    for name, leaf in found.items():
        assert np.abs(leaf - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max()

    save(tied, tmp_path / form, ties, sync=False)
    abstract = nnx.split(nnx.eval_shape(lambda: Model(shares=False)))[1]
    merged = nnx.merge(graph, load(tmp_path / form, like=abstract))
    assert np.array_equal(merged(TOKENS), nnx.merge(graph, expand(tied, ties))(TOKENS))
    assert set(read_ties(tmp_path / form, like=abstract)) == set(ties)
