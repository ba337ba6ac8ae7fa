"""sepes beside `tie_nodes`: the same gradients; what a tie inside a method leaves dead is found and tied away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiecli
from tests.peer.trained_trees import RNG, X, assert_close, peer, train
from tiecli.pytrees import contract, expand, load, read_ties, save, tie_nodes
from tiecli.ties import TieSet

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `test`")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("float64")


def make_autoencoder() -> Any:
    """A model that ties two pairs inside a method, and computes the same without ties in another."""
    sp: Any = peer("sepes")

    class Linear(sp.TreeClass):  # type: ignore[misc]  # a peer's class
        def __init__(self, outside: int, inside: int) -> None:
            self.weight = jnp.asarray(RNG.normal(size=(outside, inside)))
            self.bias = jnp.asarray(RNG.normal(size=outside))

        def __call__(self, x: Any) -> Any:
            return x @ self.weight.T + self.bias

    class AutoEncoder(sp.TreeClass):  # type: ignore[misc]  # a peer's class
        def __init__(self) -> None:
            self.enc1, self.enc2 = Linear(4, 5), Linear(3, 4)
            self.dec2, self.dec1 = Linear(4, 3), Linear(5, 4)

        def loss(self) -> Any:
            hidden = jnp.tanh(self.dec2(jnp.tanh(self.enc2(jnp.tanh(self.enc1(X))))))
            return jnp.mean((self.dec1(hidden) - X) ** 2)

        def tied_loss(self) -> Any:
            self.dec1.weight, self.dec2.weight = self.enc1.weight.T, self.enc2.weight.T
            return self.loss()

    return AutoEncoder()


def tie_decoders(net: Any) -> TieSet:
    return tie_nodes(
        net, lambda n: [n.dec1.weight, n.dec2.weight], lambda n: [n.enc1.weight.T, jnp.transpose(n.enc2.weight)]
    )


def their_loss(net: Any) -> Any:
    return peer("sepes").value_and_tree(type(net).tied_loss)(net)[0]


def test_tied_and_untied_gradients() -> None:
    """Ours are theirs where they are not zero; an untied model's own sum up to them, and are none of them zero."""
    net = make_autoencoder()
    ties = tie_decoders(net)
    tied = contract(net, ties, keep="src")

    theirs = jax.grad(their_loss)(net)
    ours = jax.grad(lambda tied: expand(tied, ties).loss())(tied)
    own = jax.grad(type(net).loss)(expand(tied, ties))

    assert_close(ours, contract(theirs, ties, keep="src"))
    for name in ("1", "2"):
        enc, dec = (getattr(own, side + name).weight for side in ("enc", "dec"))
        assert not getattr(theirs, f"dec{name}").weight.any()
        assert np.abs(dec).max() > 1e-3
        assert_close(getattr(ours, f"enc{name}").weight, enc + dec.T)


def test_a_dead_leaf_is_tied_away(tmp_path: Path) -> None:
    """Found, linted and tied, a trained checkpoint is that of a model that was tied from the start, state included."""
    net = make_autoencoder()
    ties = tie_decoders(net)
    optimizer = optax.adamw(0.05, weight_decay=0.1)
    trained, state = train(optimizer, net, their_loss)
    # Weight decay shrinks what no gradient reaches.
    assert_close(trained.dec1.weight, net.dec1.weight * (1 - 0.05 * 0.1) ** 4)
    save({"params": trained, "opt_state": state}, tmp_path / "sepes.safetensors", sync=False)

    hits = [hit for hit in tiecli.find(tmp_path / "sepes.safetensors").hits if hit.kind == "dead"]
    assert {str(hit.tie) for hit in hits} == {
        "params.dec1.weight = params.enc1.weight | transpose",
        "params.dec2.weight = params.enc2.weight | transpose",
    }
    report = tiecli.lint([tmp_path / "sepes.safetensors"], tiecli.LintOptions(level="data"))
    assert [finding.code for finding in report.findings].count("OPT004") == 2

    requests = [tiecli.TieRequest(hit.canonical, hit.alias, hit.transform) for hit in hits]
    tiecli.tie(tmp_path / "sepes.safetensors", requests, tiecli.Target(tmp_path / "tied.safetensors"), keep="src")
    like = {"params": net, "opt_state": state}
    back = load(tmp_path / "tied.safetensors", like=like, expanded=False)
    params, moments = train(optimizer, contract(net, ties, keep="src"), lambda tied: expand(tied, ties).loss())
    assert_close(back["params"], params)
    assert_close(back["opt_state"], moments)
    assert len(read_ties(tmp_path / "tied.safetensors", like=like)) == 6
