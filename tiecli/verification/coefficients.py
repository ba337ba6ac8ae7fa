"""Coefficients: the random factors of the probe loss, drawn per path and element from a counter.

An element's coefficient is a product of one factor for each axis, so that a tile of any
shape needs no more random numbers than it is long, and a permuted leaf the same ones.
"""

from __future__ import annotations

from typing import Any

from tiecli.keypaths import KeyPath

AMPLITUDE, FREQUENCY = 0, 1
"""The two kinds of factors; amplitudes have either sign."""


def leaf_key(path: KeyPath) -> int:
    """Draws the 64 bits that tell the coefficients of one leaf from those of all others."""
    from xxhash import xxh3_64_intdigest

    return xxh3_64_intdigest(str(path).encode("utf-8", "surrogatepass"))


def axis_factors(key: Any, kind: int, axis: int, indices: Any, rank: int) -> Any:
    """Draws the factors of some layers of one axis, on a device.

    The product over `rank` axes lies between a half and one, in absolute value.

    Args:
        key: A leaf's key, as two 32-bit words.
        kind: `AMPLITUDE` or `FREQUENCY`.
        axis: Which axis.
        indices: The layers.
        rank: How many factors are multiplied.
    """
    import jax.numpy as jnp

    hashed = _mix(indices.astype(jnp.uint32) ^ key[0], key[1] + jnp.uint32((2 * axis + kind) * 0x9E3779B9 & 0xFFFFFFFF))
    least = 0.5 ** (1 / rank)
    size = least + (1 - least) * (hashed >> 8).astype(jnp.float64) * 2.0**-24
    return jnp.where(hashed & 1 == 1, -size, size) if kind == AMPLITUDE else size


def _mix(bits: Any, key: Any) -> Any:
    """Scatters 32 bits and a key.

    Source: the constants of `lowbias32` in Chris Wellons' hash-prospector, 2018.
    """
    import jax.numpy as jnp

    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = ((bits + key) ^ ((bits + key) >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
