"""Precision: the narrowest float that a computation goes through, wherever it hides."""

from __future__ import annotations

from typing import Any

import pytest

from tiecli.verification.devices import float64
from tiecli.verification.precision import epsilon_of, narrowest_float, tolerance

jax = pytest.importorskip("jax", reason="jax is not installed")
jnp, lax = jax.numpy, jax.lax


def loop(x: Any) -> Any:
    """Rounds inside a loop inside a checkpoint inside a jit."""

    def body(total: Any, row: Any) -> Any:
        return total + jnp.tanh(row.astype(jnp.bfloat16)).astype(jnp.float64), None

    return jax.jit(jax.checkpoint(lambda y: lax.scan(body, 0.0, y)[0]))(x)


COMPUTATIONS: dict[str, Any] = {
    "float64": lambda x: jnp.tanh(x).sum() + jax.random.normal(jax.random.key(0), (3,)).sum(),
    "constants": lambda x: (x * jnp.ones(3, jnp.float32)).sum(),
    "float32": lambda x: jnp.tanh(x.astype(jnp.float32)).sum(),
    "rounded only": lambda x: x.astype(jnp.float16).astype(jnp.float64).sum(),
    "beside": lambda x: x.sum() * jnp.cos(jnp.arange(3).astype(jnp.float32)).sum(),
    "branch": lambda x: lax.cond(x[0] > 0, lambda y: jnp.sin(y.astype(jnp.float32)).sum().astype(float), jnp.sum, x),
    "loop": loop,
    "complex": lambda x: jnp.abs(jnp.exp(x.astype(jnp.complex64))).sum(),
}


@pytest.mark.parametrize(
    ("name", "narrowest"),
    [
        ("float64", "float64"),
        ("constants", "float64"),
        ("float32", "float32"),
        ("rounded only", "float16"),
        ("beside", "float32"),
        ("branch", "float32"),
        ("loop", "bfloat16"),
        ("complex", "complex64"),
    ],
)
def test_the_narrowest_float(name: str, narrowest: str) -> None:
    """What is only stored in float32 rounds nothing; what is computed or rounded in it does."""
    with float64():
        found = narrowest_float(jax.make_jaxpr(COMPUTATIONS[name])(jnp.ones(3)))
    assert found.name == narrowest


def test_a_tolerance_grows_with_rounding_and_with_terms() -> None:
    """In float64 it stays a thousand times above rounding, whatever the number of terms."""
    single, half = epsilon_of("float32"), epsilon_of("bfloat16")

    assert tolerance(epsilon_of("float64"), 97) == 1e-12
    assert tolerance(single, 2) < tolerance(single, 97) < tolerance(half, 2)
    assert epsilon_of("complex64") == single == 2.0**-23
