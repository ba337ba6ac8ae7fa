"""The autoencoder of the sepes notebook on shared weights, with the numbers that it should have printed.

The notebook's second cell means to show the gradients of the untied model and calls the tied
loss again, so that it prints the tied numbers twice. The model is linear, its input one wide
and constant, so that at the tied point both terms of a tied gradient are equal: it cannot tell
the sum from twice one term, and is therefore not the only model that tiecli is tested on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiecli
from tiecli.pytrees import Tree, expand, list_leaves, load
from tiecli.ties import Tie, TieSet
from tiecli.transforms import TRANSPOSE

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
jnp = jax.numpy
SIZES = {"enc1": (10, 1), "enc2": (20, 10), "dec2": (10, 20), "dec1": (1, 10)}
PAIRS = {"enc1": "dec1", "enc2": "dec2"}
TIES = TieSet(
    tuple(
        Tie(tiecli.KeyPath((dec, "weight")), (tiecli.KeyPath((enc, "weight")),), TRANSPOSE)
        for enc, dec in PAIRS.items()
    )
)


@pytest.fixture(params=[False, True], ids=["the stream of the notebook", "the stream of today"])
def is_partitionable(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Which of jax's two streams of random numbers it is; the notebook was run with the older."""
    with jax.threefry_partitionable(request.param):
        yield request.param


@pytest.fixture
def checkpoint(is_partitionable: bool, tmp_path: Path) -> Path:
    """The model as it is initialised, decoder weights of their own included."""
    from safetensors.numpy import save_file

    keys = jax.random.split(jax.random.PRNGKey(0), 4)
    leaves = {}
    for key, (name, shape) in zip(keys, SIZES.items(), strict=True):
        leaves[f"{name}.weight"] = np.asarray(jax.random.normal(key, shape))
        leaves[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    save_file(leaves, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def loss(tree: Tree) -> Any:
    hidden = jnp.ones((10, 1))
    for name in SIZES:
        hidden = hidden @ tree[name]["weight"].T + tree[name]["bias"]
    return jnp.mean((hidden - 2.0) ** 2)


def gradients(function: Any, tree: Tree) -> dict[str, Any]:
    found = jax.jit(jax.grad(function))(tree)
    return {path.spelling: np.asarray(leaf) for path, leaf in list_leaves(found).items()}


def tied_loss(tree: Tree) -> Any:
    return loss(expand(tree, TIES))


def drop_decoder_weights(tree: Tree) -> Tree:
    """What sepes does inside its method: the decoder's own weights count for nothing."""
    return {name: parts if name in PAIRS else {"bias": parts["bias"]} for name, parts in tree.items()}


def describe(leaf: Any) -> tuple[float, ...]:
    return float(leaf.mean()), float(leaf.std()), float(leaf.min()), float(leaf.max()), float(np.linalg.norm(leaf))


# For each leaf its mean, and what else is known: standard deviation, least, largest, L2 norm.
Numbers = dict[str, tuple[float | None, ...]]
TIED: dict[bool, tuple[float, Numbers]] = {
    False: (
        96811.93,
        {
            "enc1.weight": (-12710.8, 34315.1, None, None, 115719),
            "enc1.bias": (-6355.41, 17157.5),
            "enc2.weight": (-81.0944, 5654.73, None, None, 79978.2),
            "enc2.bias": (235.002, 2451.13),
            "dec2.bias": (-107.370, 706.496, -1561.75, 949.41),
            "dec1.bias": (622.292,),
        },
    ),
    True: (55006.78, {"dec1.bias": (469.07,), "dec2.bias": (-123.615, 515.669)}),
}
UNTIED: dict[bool, tuple[float, Numbers]] = {
    False: (
        366.285,
        {
            "enc1.weight": (170.521, 250.202, -157.079, 701.643, 957.489),
            "enc1.bias": (170.521, 250.202),
            "enc2.weight": (4.3953, 108.617, -377.704, 621.313, 1537.33),
            "enc2.bias": (-25.4741, 91.1704),
            "dec2.weight": (0.163177, 123.536, -441.278, 435.135, 1747.06),
            "dec2.bias": (0.432098, 31.2171, -59.816, 58.983, 98.727),
            "dec1.weight": (168.090, 453.722, -471.739, 1038.93, 1530.09),
            "dec1.bias": (-38.2772,),
        },
    ),
    True: (
        1756.966,
        {
            "dec1.weight": (-207.898, 1048.02, -1983.14, 1572.19, 3378.72),
            "dec1.bias": (-83.8324,),
            "dec2.weight": (42.1299, 371.249, -1531.17, 1088.46, 5283.95),
            "dec2.bias": (-24.8053, 105.776, -141.013, 198.366),
        },
    ),
}
AT_THE_TIED_POINT: dict[bool, Numbers] = {
    False: {
        "enc1.weight": (-6355.41, 17157.5, None, None, 57859.5),
        "enc2.weight": (-40.5472, 2827.37, None, None, 39989.1),
        "dec2.weight": (-40.5472, 2827.37, None, None, 39989.1),
        "dec1.weight": (-6355.41, 17157.5, None, None, 57859.5),
        "dec1.bias": (622.292,),
    },
    True: {
        "dec1.weight": (498.864, 12055.6, None, None, 38155.6),
        "dec2.weight": (209.951, 1811.51, None, None, 25790.0),
    },
}


def assert_described(found: dict[str, Any], expected: Numbers) -> None:
    for name, numbers in expected.items():
        # A mean of both signs has fewer digits than what it is the mean of.
        size = float(np.abs(found[name]).max())
        for number, described in zip(numbers, describe(found[name]), strict=False):
            assert number is None or described == pytest.approx(number, rel=1e-5, abs=1e-6 * size)


def test_tied(checkpoint: Path, is_partitionable: bool) -> None:
    """What the notebook prints, without its zeros: there is no decoder weight to receive them."""
    value, numbers = TIED[is_partitionable]
    tree = drop_decoder_weights(load(checkpoint))

    assert float(tied_loss(tree)) == pytest.approx(value, rel=1e-6)
    found = gradients(tied_loss, tree)
    assert set(found) == {f"{name}.bias" for name in SIZES} | {f"{name}.weight" for name in PAIRS}
    assert_described(found, numbers)


def test_untied(checkpoint: Path, is_partitionable: bool) -> None:
    """What its second cell should have printed."""
    value, numbers = UNTIED[is_partitionable]
    tree = load(checkpoint)

    assert float(loss(tree)) == pytest.approx(value, rel=1e-6)
    assert_described(gradients(loss, tree), numbers)


def test_the_sum_at_the_tied_point(checkpoint: Path, is_partitionable: bool) -> None:
    """Untied leaves of tied values have gradients that sum to the tied ones; here both are half of it."""
    tree = drop_decoder_weights(load(checkpoint))
    own, tied = gradients(loss, expand(tree, TIES)), gradients(tied_loss, tree)

    assert_described(own, AT_THE_TIED_POINT[is_partitionable])
    for enc, dec in PAIRS.items():
        total = own[f"{enc}.weight"] + own[f"{dec}.weight"].T
        size = np.abs(total).max()
        assert np.abs(tied[f"{enc}.weight"] - total).max() < 1e-6 * size
        assert np.abs(2 * own[f"{enc}.weight"] - total).max() < 1e-6 * size


def test_sepes_itself(checkpoint: Path) -> None:
    """Its method gives our tied gradients, and exactly nothing to the decoder weights that it keeps."""
    sp = pytest.importorskip("sepes", reason="sepes comes with the extra `peer`")
    tree = load(checkpoint)

    @sp.autoinit
    class AutoEncoder(sp.TreeClass):  # type: ignore[misc, name-defined]  # a peer's class
        parts: dict[str, Any]

        def loss(self) -> Any:
            for enc, dec in PAIRS.items():
                self.parts[dec]["weight"] = self.parts[enc]["weight"].T
            return loss(self.parts)

    net = AutoEncoder(jax.tree.map(jnp.asarray, tree))
    found = jax.jit(jax.grad(lambda net: sp.value_and_tree(AutoEncoder.loss)(net)[0]))(net).parts
    ours = gradients(tied_loss, drop_decoder_weights(tree))

    for name, shape in SIZES.items():
        for part, gradient in found[name].items():
            if name in PAIRS.values() and part == "weight":
                assert gradient.shape == shape
                assert not np.asarray(gradient).any()
            else:
                expected = ours[f"{name}.{part}"]
                assert np.abs(np.asarray(gradient) - expected).max() <= 1e-6 * np.abs(expected).max()
