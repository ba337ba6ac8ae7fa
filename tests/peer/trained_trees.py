"""What the tests of live trees in other frameworks share: a few numbers, a training loop, a bound."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tiecli.pytrees import list_leaves

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 5))
TOKENS, TARGETS = np.array([3, 1, 4, 1, 5]), np.array([1, 4, 1, 5, 9])


def peer(name: str, reason: str = "comes with the extra `peer`") -> ModuleType:
    """Imports a framework, or skips."""
    module: ModuleType = pytest.importorskip(name, reason=f"{name} {reason}")
    return module


def assert_close(found: Any, expected: Any, bound: float = 1e-12) -> None:
    """Asserts that two trees have the same leaves, to a part of the largest element of each."""
    left, right = list_leaves(found), list_leaves(expected)
    assert left.keys() == right.keys()
    for path, leaf in left.items():
        size = np.abs(right[path]).max(initial=1e-30)
        assert np.abs(np.asarray(leaf) - np.asarray(right[path])).max(initial=0) <= bound * size, path


def train(optimizer: Any, params: Any, loss: Any, steps: int = 4) -> tuple[Any, Any]:
    """Trains, and gives the parameters and the optimizer's state."""
    import jax
    import optax

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def cross_entropy(logits: Any) -> Any:
    """Of the next token."""
    import optax

    return optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS).mean()
