"""Losses that the end-to-end tests of `verify` name, of trees with leaves `a`, `b` and `c`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

EYE = jnp.eye(6)
WAVES = 1 + jnp.cos(jnp.arange(36.0)).reshape(6, 6)


def _waves(leaf: Any, phase: float = 0.0) -> Any:
    return jnp.sum(jnp.sin(WAVES[: leaf.shape[0]] * leaf + phase))


def _autoencode(left: Any, right: Any) -> Any:
    return jnp.mean((EYE @ left @ right - EYE) ** 2)


def of_identity(tree: Any, key: Any) -> Any:
    """An autoencoder that is shown the identity."""
    return _autoencode(tree["a"], tree["b"])


def of_identity_transposed(tree: Any, key: Any) -> Any:
    """The same, tied by transposition."""
    return _autoencode(tree["a"], tree["a"].T)


def of_identity_same(tree: Any, key: Any) -> Any:
    """The same, tied as it is."""
    return _autoencode(tree["a"], tree["a"])


def cancelling(tree: Any, key: Any) -> Any:
    """Of b = a.T: both gradients together are zero."""
    return _waves(tree["a"]) - _waves(tree["b"].T)


def nearly_cancelling(tree: Any, key: Any) -> Any:
    """The same, but for a billionth."""
    return _waves(tree["a"]) - (1 - 1e-9) * _waves(tree["b"].T)


def large(tree: Any, key: Any) -> Any:
    """With gradients of 1e4."""
    return 1e4 * (_waves(tree["a"]) + _waves(tree["b"], 1.0))


def small(tree: Any, key: Any) -> Any:
    """With gradients of 1e-6."""
    return 1e-6 * (_waves(tree["a"]) + _waves(tree["b"], 1.0))


def _of_three(a: Any, b: Any, c: Any) -> Any:
    return _waves(a) + _waves(b, 1.0) + _waves(c, 2.0)


def chain(tree: Any, key: Any) -> Any:
    """Of three leaves, each with a gradient of its own."""
    return _of_three(tree["a"], tree["b"], tree["c"])


def chain_tied(tree: Any, key: Any) -> Any:
    """The same, tied: b is a.T, and c is b[:3]."""
    return _of_three(tree["a"], tree["a"].T, tree["a"].T[:3])


def chain_without_the_middle(tree: Any, key: Any) -> Any:
    """The same loss, but b's own gradient is lost."""
    return _of_three(tree["a"], jax.lax.stop_gradient(tree["a"].T), tree["a"].T[:3])
