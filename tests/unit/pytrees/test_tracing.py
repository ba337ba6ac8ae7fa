"""Tracing: what a function does to leaves is read as a transform that does the same, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import einops
import ml_dtypes
import numpy as np
import pytest

from tiecli.errors import TransformMismatchError, TreeError
from tiecli.pytrees import expand, tie_nodes

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")
jnp = jax.numpy
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 6)).astype(np.float32)
TREE = {
    "w": WEIGHT,
    "narrow": WEIGHT[:, :2].copy(),
    "half": WEIGHT.astype(ml_dtypes.bfloat16),
    "whole": np.arange(24, dtype=np.int32).reshape(4, 6),
    "complex": (WEIGHT + 1j * WEIGHT[::-1]).astype(np.complex64),
    "scalar": np.float32(3),
    "cube": RNG.normal(size=(2, 3, 4)).astype(np.float32),
}

READ: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nothing": (lambda t: t["w"], "same"),
    ".T": (lambda t: t["w"].T, "transpose"),
    ".mT": (lambda t: t["cube"].mT, "transpose(0,2,1)"),
    "jnp.transpose": (lambda t: jnp.transpose(t["cube"], (1, 2, 0)), "transpose(1,2,0)"),
    "swapaxes": (lambda t: t["cube"].swapaxes(0, -1), "transpose(2,1,0)"),
    "an index": (lambda t: t["w"][3], "[3]"),
    "an index from the end": (lambda t: t["w"][-1], "[3]"),
    "two indices": (lambda t: t["cube"][1, 2], "[1, 2]"),
    "every index": (lambda t: t["w"][1, 2], "[1, 2]"),
    "a slice": (lambda t: t["w"][:, 2:5], "[:, 2:5]"),
    "an index and a slice": (lambda t: t["cube"][1, :, 1:3], "[1, :, 1:3]"),
    "an ellipsis": (lambda t: t["cube"][..., :2], "[:, :, :2]"),
    "steps": (lambda t: t["w"][1::2], "[1:4:2]"),
    "steps backwards": (lambda t: t["w"][::-1], "flip(0)"),
    "flip": (lambda t: jnp.flip(t["w"], 1), "flip(1)"),
    "a new axis": (lambda t: t["w"][None], "reshape(1,4,6)"),
    "squeeze": (lambda t: jnp.squeeze(t["w"][None], 0), "reshape(4,6)"),
    "reshape": (lambda t: t["w"].reshape(3, -1), "reshape(3,8)"),
    "ravel": (lambda t: t["w"].ravel(), "reshape(24)"),
    "einops": (lambda t: einops.rearrange(t["w"], "(h k) d -> d h k", h=2), "reshape(2,2,6) | transpose(2,0,1)"),
    "repeat": (lambda t: jnp.repeat(t["w"], 3, axis=0), "reshape(4,1,6) | repeat(1,3) | reshape(12,6)"),
    "broadcast": (lambda t: jnp.broadcast_to(t["w"], (3, 4, 6)), "reshape(1,4,6) | repeat(0,3)"),
    "broadcast of an axis": (lambda t: jnp.broadcast_to(t["w"][:1], (5, 6)), "[:1] | repeat(0,5)"),
    "pad": (lambda t: jnp.pad(t["w"], ((0, 1), (2, 0))), "pad(0,0,1) | pad(1,2,0)"),
    "negation": (lambda t: -t["w"], "neg"),
    "scale": (lambda t: 2 * t["w"], "scale(0x1p+1)"),
    "a scale that float32 rounds": (lambda t: t["w"] * 0.1, f"scale({float(np.float32(0.1)).hex()[:10]}p-4)"),
    "a scale that bfloat16 rounds": (lambda t: t["half"] * 0.1, "scale(0x1.9ap-4)"),
    "a scale that is worked out": (lambda t: t["w"] * jnp.sqrt(6.0), "scale(0x1.3988e2p+1)"),
    "an array of one number": (lambda t: t["w"] * jnp.full((6,), 0.5), "scale(0x1p-1)"),
    "a quotient": (lambda t: t["w"] / 8, "scale(0x1p-3)"),
    "a cast": (lambda t: t["w"].astype(jnp.bfloat16), "cast(BF16)"),
    "a cast of integers": (lambda t: t["whole"].astype("float32"), "cast(F32)"),
    "conj": (lambda t: jnp.conj(t["complex"]).T, "transpose | conj"),
    "a scalar": (lambda t: t["scalar"] / 4, "scale(0x1p-2)"),
    "a copy": (lambda t: jnp.array(t["w"]), "same"),
    "a jitted function": (lambda t: jax.jit(lambda w: w.T * 2)(t["w"]), "transpose | scale(0x1p+1)"),
    "what is not used": (lambda t: (jnp.exp(t["w"]), t["w"].T)[1], "transpose"),
    "concatenate": (lambda t: jnp.concatenate([t["w"], t["narrow"]], 1), "concat(1)"),
    "join and turn": (lambda t: jnp.concatenate([t["w"], t["w"]]).T / 2, "concat(0) | transpose | scale(0x1p-1)"),
    "concatenate one": (lambda t: jnp.concatenate([t["w"]]), "same"),
    "stack": (lambda t: jnp.stack([t["w"], t["w"]], 1), "stack(1)"),
    "stack by hand": (lambda t: jnp.concatenate([t["w"][None], t["w"][None]]), "stack(0)"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_transform_does_what_the_function_does(name: str) -> None:
    """The same transform for the same act, whatever library it is of; the same bits come of it."""
    function, text = READ[name]

    (tie,) = tie_nodes({**TREE, "dst": np.zeros(1)}, lambda t: t["dst"], function)

    assert str(tie.transform) == text
    live = jax.tree.map(jnp.asarray, TREE)
    expected = function(live)
    for tree in (TREE, live):
        found = expand(tree, tie_nodes({**TREE, "dst": np.zeros(1)}, lambda t: t["dst"], function))["dst"]
        assert found.dtype == expected.dtype
        assert np.array_equal(np.asarray(found), np.asarray(expected))


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a sum": (lambda t: t["w"] + 1, "`get` does `add` to a leaf, which no transform describes"),
    "a product of leaves": (lambda t: t["w"] * t["w"], "does `mul` to a leaf"),
    "a product with an array": (lambda t: t["w"] * jnp.arange(6.0), "does `mul` to a leaf"),
    "a matrix product": (lambda t: t["w"] @ t["w"].T, "does `dot_general`"),
    "a quotient that rounds otherwise": (lambda t: t["w"] / 3, "does `div`"),
    "a reciprocal": (lambda t: 4 / t["scalar"], "does `div`"),
    "a sum over an axis": (lambda t: t["w"].sum(0), "does `reduce_sum`"),
    "a stopped gradient": (lambda t: jax.lax.stop_gradient(t["w"]).T, "does `stop_gradient`"),
    "rows by a table": (lambda t: t["w"][jnp.array([1, 0])], "does `gather`"),
    "padding with ones": (lambda t: jnp.pad(t["w"], 1, constant_values=1), "does `pad`"),
    "turned parts": (lambda t: jnp.concatenate([t["w"].T, t["w"].T]), "does `concatenate`"),
    "a constant among parts": (lambda t: jnp.concatenate([t["w"], jnp.ones((1, 6))]), "does `concatenate`"),
    "a constant": (lambda t: jnp.zeros(3), "`get` gives a constant, which no transform describes"),
    "an array of its own": (lambda t: np.zeros(3), "`get` gives no leaf of the tree"),
    "nothing": (lambda t: None, "`get` gives no leaf of the tree"),
    "a failure": (lambda t: t["missing"], "`get` fails on the tree: KeyError: 'missing'"),
    "a decision by values": (lambda t: t["w"] if t["scalar"] > 0 else -t["w"], "`get` fails on the tree: Tracer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_transform_describes(name: str) -> None:
    """The error says what it was."""
    function, message = REFUSED[name]
    with pytest.raises(TreeError, match=message):
        tie_nodes({**TREE, "dst": np.zeros(1)}, lambda t: t["dst"], function)


def test_what_a_dtype_does_not_admit() -> None:
    """Integers are not scaled."""
    with pytest.raises(TransformMismatchError, match=r"`scale\(0x1p\+1\)` does not fit I32 4×6"):
        tie_nodes({**TREE, "dst": np.zeros(1)}, lambda t: t["dst"], lambda t: t["whole"] * 2)


def test_leaves_of_64_bits_are_not_narrowed() -> None:
    """Where JAX would narrow them, the function does not seem to cast them, nor is a scale rounded."""
    tree = {"w": np.ones((2, 3)), "dst": np.zeros((3, 2))}

    (tie,) = tie_nodes(tree, lambda t: t["dst"], lambda t: t["w"].T * 0.1)

    assert str(tie.transform) == "transpose | scale(0x1.999999999999ap-4)"
    assert not jax.config.jax_enable_x64


def test_no_values_are_needed() -> None:
    """A tree of shapes will do, and functions that look at shapes and dtypes work."""
    tree = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), TREE | {"dst": np.zeros((6, 4))})

    def get(tree: Any) -> Any:
        return tree["w"].reshape(tree["dst"].shape).astype(tree["half"].dtype)

    (tie,) = tie_nodes(tree, lambda t: t["dst"], get)
    assert str(tie.transform) == "reshape(6,4) | cast(BF16)"
