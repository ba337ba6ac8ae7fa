"""`tiecli/verification/coefficients.py`: coefficients are drawn per path and element, and stay in bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tiecli.keypaths import KeyPath
from tiecli.verification.coefficients import AMPLITUDE, FREQUENCY, axis_factors, leaf_key
from tiecli.verification.devices import float64

pytest.importorskip("jax", reason="jax comes with the extra `verify`")


def draw(name: str, kind: int, indices: NDArray[Any], axis: int = 0, rank: int = 1) -> NDArray[np.float64]:
    """Draws factors of a leaf."""
    import jax.numpy as jnp

    key = leaf_key(KeyPath.from_name(name))
    with float64():
        words = jnp.array([key >> 32, key & 0xFFFFFFFF], jnp.uint32)
        return np.asarray(axis_factors(words, kind, axis, jnp.asarray(indices), rank))


INDICES = np.arange(100_000, dtype=np.uint32)


@pytest.mark.parametrize("rank", [1, 2, 8])
def test_products_lie_between_a_half_and_one(rank: int) -> None:
    """In absolute value, for any number of axes."""
    factors = draw("w", AMPLITUDE, INDICES, rank=rank)

    assert (np.abs(factors) ** rank).min() >= 0.5 - 1e-12
    assert np.abs(factors).max() < 1
    assert (draw("w", FREQUENCY, INDICES, rank=rank) > 0).all()


def test_amplitudes_have_either_sign_as_often() -> None:
    """Otherwise all gradients would point one way."""
    assert abs(np.sign(draw("w", AMPLITUDE, INDICES)).mean()) < 0.02


def test_hardly_any_two_elements_share_a_factor() -> None:
    """Nor do two leaves, two axes, or the two kinds, of which no one is a shifted other."""
    drawn = [
        draw("w", AMPLITUDE, INDICES),
        draw("v", AMPLITUDE, INDICES),
        draw("w", AMPLITUDE, INDICES, axis=1),
        draw("w", FREQUENCY, INDICES),
    ]
    everything = np.abs(np.concatenate(drawn))

    assert len(np.unique(everything)) > 0.98 * len(everything)
    for one in range(4):
        for other in range(one):
            assert abs(np.corrcoef(np.abs(drawn[one]), np.abs(drawn[other]))[0, 1]) < 0.02


def test_a_tile_draws_what_the_whole_leaf_does() -> None:
    """Elements know their index and nothing else."""
    whole = draw("w", AMPLITUDE, INDICES)

    assert np.array_equal(draw("w", AMPLITUDE, INDICES[500:700]), whole[500:700])


def test_keys_depend_on_the_path_alone() -> None:
    """An index is no name that looks like it."""
    assert leaf_key(KeyPath(("a", 0))) != leaf_key(KeyPath(("a", "0")))
    assert leaf_key(KeyPath(("a", "b"))) == leaf_key(KeyPath.from_name("a.b"))
