"""Decoding: stored elements as a device takes them, and as float64 there, every value exactly.

Devices flush small numbers to zero when they convert them, so the bits are put together
where that can be; what is neither finite becomes a large number that no element has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiecli.leaves import DType

Form = Literal["bf16", "f32", "f64", "c64"]
"""How elements come to a device: 16 or 32 bits of a float, or a float64; two of the second for a complex one."""

_TOP = 2.0**128


def form_of(dtype: DType) -> Form:
    """Finds the form in which elements come to a device."""
    if dtype.kind == "complex":
        return "c64"
    return {"BF16": "bf16", "F64": "f64"}.get(dtype.name, "f32")  # type: ignore[return-value]  # all of them forms


def encode(array: NDArray[Any], form: Form) -> NDArray[Any]:
    """Brings stored elements into the form in which they come to a device, without a change of value.

    Returns:
        An array of the same axes, and a last one of length 2 for complex elements.
    """
    array = np.require(array, requirements="C")
    if form == "bf16":
        return array.view(np.uint16)
    if form == "f64":
        return array
    if form == "c64":
        return array.view(np.float32).view(np.uint32).reshape(*array.shape, 2)
    return array.astype(np.float32, copy=False).view(np.uint32)


class Decoded(NamedTuple):
    """Elements on a device.

    Attributes:
        values: In float64; what is infinite is `top`, and what is no number larger than that.
        weights: One over a power of two near each value; infinite where the value is, or is no number.
    """

    values: Any
    weights: Any


def top_of(forms: Iterable[Form]) -> float:
    """Finds the number that stands for infinity among elements of some forms; few float64s are larger."""
    return 2.0**1023 if "f64" in forms else _TOP


def decode(bits: Any, form: Form, top: float, *, wide: bool = True) -> Decoded:
    """Turns elements into float64 on a device.

    Args:
        bits: As `encode` gives them.
        form: In which form.
        top: What is to stand for infinity.
        wide: Whether the device can put the bits of a float64 together.
    """
    import jax.numpy as jnp
    from jax import lax

    if form == "f64":
        size = jnp.where(jnp.isnan(bits), 1.5 * top, jnp.minimum(jnp.abs(bits), top))
        weights = jnp.where(size >= top, jnp.inf, 1.5 / jnp.maximum(size, 2.0**-400))
        return Decoded(jnp.where(bits < 0, -size, size), weights)
    bits = bits.astype(jnp.uint32) << (16 if form == "bf16" else 0)
    # The largest numbers would need a weight below the smallest; infinity's wraps around, and becomes infinite.
    powers = jnp.maximum(jnp.uint32(254 << 23) - (bits & jnp.uint32(0x7F800000)), jnp.uint32(1 << 23))
    weights = lax.bitcast_convert_type(powers, jnp.float32).astype(jnp.float64)
    values = _assemble(bits) if wide else _convert(bits)
    if top != _TOP:
        values = jnp.where(jnp.abs(values) >= _TOP, values * (top / _TOP), values)
    return Decoded(values, weights)


def _assemble(bits: Any) -> Any:
    """Puts float64s together from the bits of float32s."""
    import jax.numpy as jnp
    from jax import lax

    wide = bits.astype(jnp.uint64)
    shifted = ((wide & jnp.uint64(0x7FFFFFFF)) << jnp.uint64(29)) + jnp.uint64(896 << 52)
    size = lax.bitcast_convert_type(shifted, jnp.float64)
    # Subnormal numbers have no hidden digit, and only they lie below the smallest that has.
    size = jnp.where(size < 2.0**-126, 2 * size - 2.0**-126, size)
    sign = (wide >> jnp.uint64(31)) << jnp.uint64(63)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(size, jnp.uint64) | sign, jnp.float64)


def _convert(bits: Any) -> Any:
    """Does the same for a device that cannot look into a float64."""
    import jax.numpy as jnp
    from jax import lax

    rest = bits & jnp.uint32(0x7FFFFFFF)
    subnormal = rest.astype(jnp.int32).astype(jnp.float64) * 2.0**-149
    plain = lax.bitcast_convert_type(rest, jnp.float32).astype(jnp.float64)
    odd = _TOP * (1 + (rest & jnp.uint32(0x7FFFFF)).astype(jnp.int32).astype(jnp.float64) * 2.0**-23)
    size = jnp.where(rest < jnp.uint32(1 << 23), subnormal, plain)
    size = jnp.where(rest >= jnp.uint32(0x7F800000), odd, size)
    return jnp.where(bits >> 31 == 1, -size, size)
