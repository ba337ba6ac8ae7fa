"""Precision: how exactly a computation can be judged, by the narrowest float in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import sqrt
from typing import Any

import ml_dtypes
import numpy as np

FLOAT64_TOLERANCE = 1e-12
"""Relative to the largest term: rounding is a thousandth of it, one f32 ulp in one element a hundred times."""

# Primitives that move elements and compute nothing.
_MOVING = re.compile(
    "broadcast_in_dim|concatenate|copy|copy_p|device_put|dynamic_slice|dynamic_update_slice|expand_dims|gather|iota"
    "|pad|reshape|rev|select_n|slice|split|squeeze|stop_gradient|transpose"
)


def tolerance(epsilon: float, terms: int) -> float:
    """Says how far a sum of gradients may be off, relative to its largest terms.

    Args:
        epsilon: Of the narrowest float in the computation.
        terms: How many gradients are summed.

    Example:
        >>> tolerance(2.0**-52, 2)
        1e-12
        >>> tolerance(2.0**-23, 4)
        3.814697265625e-06
    """
    return max(FLOAT64_TOLERANCE, 16 * sqrt(terms) * epsilon) if epsilon > 2.0**-52 else FLOAT64_TOLERANCE


def narrowest_float(jaxpr: Any) -> Any:
    """Finds the narrowest float dtype that a traced computation computes in, or rounds to; float64 if there is none.

    Args:
        jaxpr: What `jax.make_jaxpr` gives.
    """
    return max(_narrow_floats(getattr(jaxpr, "jaxpr", jaxpr)), key=epsilon_of, default=np.dtype("float64"))


def epsilon_of(dtype: Any) -> float:
    """Gives the distance from 1 to the next number of a float or complex dtype.

    Example:
        >>> epsilon_of("bfloat16"), epsilon_of("complex64") == 2.0**-23
        (0.0078125, True)
    """
    finfo: Any = ml_dtypes.finfo
    return float(finfo(dtype).eps)


def _narrow_floats(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        inner = [part for value in equation.params.values() for part in _inner_jaxprs(value)]
        for part in inner:
            yield from _narrow_floats(part)
        if not inner and _MOVING.fullmatch(equation.primitive.name) is None:
            yield from _rounded_to(equation)


def _rounded_to(equation: Any) -> Iterator[Any]:
    """Yields the dtypes narrower than float64 that one equation computes in."""
    inputs = [variable.aval.dtype for variable in equation.invars if hasattr(variable.aval, "dtype")]
    for variable in equation.outvars:
        dtype = getattr(variable.aval, "dtype", None)
        if not _is_inexact(dtype) or epsilon_of(dtype) <= epsilon_of("float64"):
            continue
        # Converting to what holds every value rounds nothing.
        is_converting = equation.primitive.name == "convert_element_type"
        if not is_converting or any(_is_inexact(found) and epsilon_of(found) < epsilon_of(dtype) for found in inputs):
            yield dtype


def _is_inexact(dtype: Any) -> bool:
    import jax.numpy as jnp

    return dtype is not None and bool(jnp.issubdtype(dtype, jnp.inexact))


def _inner_jaxprs(value: object) -> Iterator[Any]:
    """Yields the computations inside a parameter: of a loop, a branch, a call."""
    for part in value if isinstance(value, tuple | list) else (value,):
        jaxpr = getattr(part, "jaxpr", part)
        if hasattr(jaxpr, "eqns"):
            yield jaxpr
