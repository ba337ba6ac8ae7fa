"""`equinox.nn.Shared` beside `tie_nodes`: the same gradients where it works, a refusal where it loses a leaf."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tiecli.errors import DriftedPairError, PairingError, TieConflictError, TreeError
from tiecli.pytrees import contract, expand, list_leaves, load, read_ties, save, tie_nodes

jax = pytest.importorskip("jax", reason="jax comes with the extra `test`")
eqx = pytest.importorskip("equinox", reason="equinox comes with the extra `peer`")
jnp = jax.numpy
Trio = tuple[Any, Any, Any]


def make_trio() -> Trio:
    """Three square leaves of different values."""
    return tuple(jnp.asarray(np.random.default_rng(seed).normal(size=(3, 3)), "float32") for seed in range(3))


def is_lost(leaf: Any) -> bool:
    """Whether a placeholder of Equinox is all that is left of it."""
    return type(leaf).__name__ == "SharedNode"


class Block(eqx.Module):  # type: ignore[misc, name-defined]  # a peer's class
    first: Any
    second: Any
    scale: Any
    activation: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.scale * self.second(self.activation(self.first(x)))


def make_block(**options: Any) -> Block:
    keys = jax.random.split(jax.random.key(0))
    first, second = (eqx.nn.Linear(4, 4, key=key, **options) for key in keys)
    return Block(first, second, jnp.float32(0.7), jax.nn.tanh)


WORKING: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "one leaf": (lambda m: m.second.weight, lambda m: m.first.weight),
    "transposed": (lambda m: m.second.weight, lambda m: m.first.weight.T),
    "jnp.transpose": (lambda m: m.second.weight, lambda m: jnp.transpose(m.first.weight)),
    "a whole layer": (lambda m: m.second, lambda m: m.first),
    "several nodes": (lambda m: [m.second.bias, m.second.weight], lambda m: [m.first.bias, m.first.weight.T]),
    "a tuple of nodes": (lambda m: (m.second.bias,), lambda m: (m.first.bias,)),
    "scaled and flipped": (lambda m: m.second.weight, lambda m: 0.5 * m.first.weight[::-1]),
    "a row": (lambda m: m.second.bias, lambda m: m.first.weight[2]),
    "parts of two leaves": (
        lambda m: m.second.weight,
        lambda m: jnp.concatenate([m.first.weight, m.first.bias[None]])[1:],
    ),
}


@pytest.mark.parametrize("name", [name for name in WORKING if name != "parts of two leaves"])
def test_the_same_model_and_the_same_gradients(name: str) -> None:
    """Bit for bit, of every leaf that is left, inside Equinox's own transformations."""
    where, get = WORKING[name]
    block, x = make_block(), jnp.arange(4.0)

    shared = eqx.nn.Shared(block, where, get)
    theirs = eqx.filter_jit(eqx.filter_grad(lambda shared: (shared()(x) ** 2).sum()))(shared).pytree
    ties = tie_nodes(block, where, get)
    tied = contract(block, ties, keep="src")
    ours = eqx.filter_jit(eqx.filter_grad(lambda tied: (expand(tied, ties)(x) ** 2).sum()))(tied)

    for left, right in ((ours, theirs), (expand(tied, ties), shared())):
        found, expected = (
            {str(path): leaf for path, leaf in list_leaves(eqx.filter(tree, eqx.is_array)).items()}
            for tree in (left, right)
        )
        assert found.keys() == expected.keys()
        for path, leaf in found.items():
            assert np.array_equal(leaf, expected[path]), path
    assert tied.activation is jax.nn.tanh


def test_what_no_single_transform_makes_is_refused() -> None:
    """Leaves that are turned before they are joined; Equinox takes any function, and nobody can write it down."""
    where, get = WORKING["parts of two leaves"]
    eqx.nn.Shared(make_block(), where, get)
    with pytest.raises(TreeError, match="`get` does `concatenate` to a leaf, which no transform describes"):
        tie_nodes(make_block(), where, get)


def test_values_that_differ() -> None:
    """Equinox discards them, we refuse; the sign of zero and a NaN's payload count as well."""
    first, second, third = make_trio()
    assert np.array_equal(eqx.nn.Shared((first, second), lambda t: t[1], lambda t: t[0])()[1], first)

    ties = tie_nodes((first, second, third), lambda t: t[1], lambda t: t[0])
    with pytest.raises(DriftedPairError, match="9 of 9 elements differ"):
        contract((first, second, third), ties)
    assert contract((first, first, third), ties)[1] is None


def test_a_cycle() -> None:
    """Equinox loses both leaves without a word; a model of them then computes with nothing."""
    first, second, _ = make_trio()
    left, right = eqx.nn.Shared((first, second), lambda t: [t[0], t[1]], lambda t: [t[1], t[0]])()
    assert is_lost(left)
    assert is_lost(right)

    with pytest.raises(TieConflictError, match=r"ties form a cycle: \[0\] → \[1\] → \[0\]"):
        tie_nodes((first, second), lambda t: [t[0], t[1]], lambda t: [t[1], t[0]])


def test_a_leaf_from_itself() -> None:
    """Equinox loses its only copy."""
    first, second, _ = make_trio()
    assert is_lost(eqx.nn.Shared((first, second), lambda t: t[0], lambda t: t[0])()[0])

    with pytest.raises(TieConflictError, match=r"`\[0\]` cannot be tied to itself"):
        tie_nodes((first, second), lambda t: t[0], lambda t: t[0])


def test_a_chain() -> None:
    """Equinox gives its end a placeholder; here it follows from the root, by both transforms."""
    trio = make_trio()

    def where(t: Trio) -> Any:
        return [t[1], t[2]]

    def get(t: Trio) -> Any:
        return [t[0], t[1]]

    assert is_lost(eqx.nn.Shared(trio, where, get)()[2])
    ties = tie_nodes(trio, lambda t: [t[1], t[2]], lambda t: [t[0].T, -t[1]])
    assert [str(tie) for tie in ties] == ["[1] = [0] | transpose", "[2] = [0] | transpose | neg"]
    full = expand(contract(trio, ties, keep="src"), ties)
    assert np.array_equal(full[2], -trio[0].T)
    gradient = jax.grad(lambda tied: (expand(tied, ties)[2] ** 3).sum())(contract(trio, ties, keep="src"))
    assert np.allclose(gradient[0], 3 * trio[0] ** 2 * -1)


def test_one_leaf_from_two() -> None:
    """Equinox takes the last one."""
    trio = make_trio()
    assert np.array_equal(eqx.nn.Shared(trio, lambda t: [t[2], t[2]], lambda t: [t[0], t[1]])()[2], trio[1])

    with pytest.raises(TieConflictError, match=r"`\[2\]` is tied twice"):
        tie_nodes(trio, lambda t: [t[2], t[2]], lambda t: [t[0], t[1]])


def test_nodes_that_are_not_built_alike() -> None:
    """Both refuse; we say which leaf only one of them has."""
    key = jax.random.key(0)
    layers = eqx.nn.Linear(4, 4, key=key), eqx.nn.Linear(4, 4, use_bias=False, key=key)
    with pytest.raises(ValueError, match="same pytree structure"):
        eqx.nn.Shared(layers, lambda t: t[1], lambda t: t[0])
    with pytest.raises(PairingError, match="only `get` has `bias`"):
        tie_nodes(layers, lambda t: t[1], lambda t: t[0])


@pytest.mark.parametrize("form", ["model.safetensors", "orbax"])
def test_checkpoints_of_modules(form: str, tmp_path: Any) -> None:
    """A contracted module is saved, and a fresh one is filled from it; Equinox's own files know nothing of ties."""
    block = make_block()
    ties = tie_nodes(block, lambda m: m.second.weight, lambda m: m.first.weight.T)
    tied = contract(block, ties, keep="src")

    save(eqx.filter(tied, eqx.is_array), tmp_path / form, ties)
    fresh = eqx.filter_eval_shape(make_block)
    back = load(tmp_path / form, like=fresh)

    assert set(read_ties(tmp_path / form, like=fresh)) == set(ties)
    arrays = jax.tree.map(jnp.asarray, eqx.filter(back, eqx.is_array_like))
    assert eqx.tree_equal(arrays, eqx.filter(expand(tied, ties), eqx.is_array))
