"""Layers that share: ALBERT's groups, scanned stacks, the four names of T5's table, and experts that must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiecli
from tests.peer.trained_trees import RNG, TOKENS, X, assert_close, cross_entropy, train
from tiecli.cli.entry import main
from tiecli.pytrees import (
    contract,
    expand,
    load,
    read_ties,
    save,
    tie_names,
    tie_nodes,
)

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `test`")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("float64")


def run_layers(layers: Any) -> Any:
    hidden = jnp.asarray(X @ RNG_MATRIX)
    for layer in layers:
        hidden = jnp.tanh(hidden @ layer["w"] + layer["b"])
    return (hidden**2).mean()


RNG_MATRIX = np.random.default_rng(5).normal(size=(5, 4))


def make_layers(count: int) -> list[dict[str, Any]]:
    return [{"w": RNG.normal(size=(4, 4)), "b": RNG.normal(size=4)} for _ in range(count)]


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_layers_in_groups_as_albert_has_them(groups: int) -> None:
    """Six layers in one, two or three groups: the gradients of a loop over the groups."""
    layers = make_layers(6)
    ties = tie_names(layers, {f"[{at}]": f"[{at % groups}]" for at in range(groups, 6)})
    ours = jax.jit(jax.grad(lambda tied: run_layers(expand(tied, ties))))(contract(layers, ties, keep="src"))
    theirs = jax.jit(jax.grad(lambda own: run_layers([own[at % groups] for at in range(6)])))(layers[:groups])

    assert_close(ours, theirs)


def test_a_stack_of_which_a_part_is_shared() -> None:
    """Scanned layers: attention of their own, one MLP for all (by repeat), one slice used again elsewhere."""
    tree: dict[str, Any] = {"mlp": RNG.normal(size=(4, 4)), "layers": {"w": RNG.normal(size=(6, 4, 4))}}
    full = {**tree, "layers": {**tree["layers"], "mlp": np.zeros((6, 4, 4))}, "last": np.zeros((4, 4))}
    ties = tie_nodes(
        full,
        lambda t: [t["layers"]["mlp"], t["last"]],
        lambda t: [jnp.broadcast_to(t["mlp"], (6, 4, 4)), t["layers"]["w"][2].T],
    )
    assert [str(tie.transform) for tie in ties] == ["reshape(1,4,4) | repeat(0,6)", "[2] | transpose"]

    def scan(hidden: Any, w: Any, mlp: Any, last: Any) -> Any:
        def body(hidden: Any, layer: Any) -> Any:
            return jnp.tanh(jnp.tanh(hidden @ layer[0]) @ layer[1]), None

        return (jax.lax.scan(body, hidden, (w, mlp))[0] @ last).mean()

    start = jnp.asarray(X @ RNG_MATRIX)

    def ours(tied: Any) -> Any:
        tree = expand(tied, ties)
        return scan(start, tree["layers"]["w"], tree["layers"]["mlp"], tree["last"])

    def theirs(tree: Any) -> Any:
        w = tree["layers"]["w"]
        return scan(start, w, jnp.stack([tree["mlp"]] * 6), w[2].T)

    assert_close(jax.jit(jax.grad(ours))(contract(full, ties, keep="src")), jax.jit(jax.grad(theirs))(tree))


def test_four_names_of_one_table_as_t5_has_them(tmp_path: Path) -> None:
    """The gradient of the table is the sum of four, one of them turned; the checkpoint stores it once."""
    table = RNG.normal(size=(11, 4))
    tree = {"shared": table, "encoder": {"embed": table}, "decoder": {"embed": table}, "lm_head": table.T}
    ties = tie_names(tree, {"{encoder,decoder}.embed": "shared", "lm_head": "shared | transpose"})

    def loss(tree: Any) -> Any:
        encoded = jnp.tanh(tree["encoder"]["embed"][TOKENS]).mean(0) + tree["shared"].sum() * 0.01
        logits = (jnp.tanh(tree["decoder"]["embed"][TOKENS]) + encoded) * 4**-0.5 @ tree["lm_head"]
        return cross_entropy(logits)

    ours = jax.jit(jax.grad(lambda tied: loss(expand(tied, ties))))(contract(tree, ties))
    own = jax.grad(loss)(tree)
    total = own["shared"] + own["encoder"]["embed"] + own["decoder"]["embed"] + own["lm_head"].T
    assert_close(ours, {"shared": total})
    save(tree, tmp_path / "t5.safetensors", ties, sync=False)
    assert main(["verify", str(tmp_path / "t5.safetensors")]) == 0
    assert [leaf.spelling for leaf in tiecli.open_reader(tmp_path / "t5.safetensors").specs()] == ["shared"]


def test_experts_that_start_equal_are_no_tie(tmp_path: Path) -> None:
    """Upcycling: expanded once, each expert has a gradient of its own, and part with the first step."""
    dense = {"mlp": RNG.normal(size=(4, 4)), "router": RNG.normal(size=(4, 3))}
    ties = tie_names({**dense, "experts": np.zeros((3, 4, 4))}, {"experts": "mlp | reshape(1,4,4) | repeat(0,3)"})
    tree = expand(dense, ties)
    del tree["mlp"]

    def loss(tree: Any) -> Any:
        hidden = jnp.asarray(X @ RNG_MATRIX)
        gates = jax.nn.softmax(hidden @ tree["router"])
        return (
            jnp.einsum("ne,ned->nd", gates, jnp.tanh(jnp.einsum("nd,edf->nef", hidden, tree["experts"]))) ** 2
        ).mean()

    trained, state = train(optax.adam(0.01), tree, loss)
    first, second, _ = trained["experts"]
    assert np.abs(first - second).max() > 1e-4
    assert state[0].mu["experts"].shape == (3, 4, 4)
    # The command for checkpoints does the same, and records no tie.
    save(dense, tmp_path / "dense.safetensors", sync=False)
    save(tree, tmp_path / "moe.safetensors", sync=False)
    copy = ["copy", str(tmp_path / "dense.safetensors"), str(tmp_path / "moe.safetensors")]
    mapping = ["--map", "experts = mlp | reshape(1,4,4) | repeat(0,3)", "-o", str(tmp_path / "out.safetensors")]
    assert main([*copy, *mapping]) == 0
    assert np.array_equal(load(tmp_path / "out.safetensors")["experts"], tree["experts"])
    assert len(read_ties(tmp_path / "out.safetensors")) == 0
