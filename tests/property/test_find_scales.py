"""Scales: whatever constant a leaf was multiplied by, one that gives the same bits is found."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiecli.compare.differences import as_bits
from tiecli.detect.scales import feasible_factors, likely_factors
from tiecli.leaves import DTYPES, find_dtype
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward

factors = st.one_of(
    st.floats(2.0**-6, 2.0**6),
    st.integers(-5, 5).map(lambda power: 2.0**power),
    st.integers(1, 999).map(lambda n: n / 7),
)
signs = st.sampled_from([1.0, -1.0])


@given(
    factors, signs, st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
)
def test_bounds_hold_the_factor(factor: float, sign: float, seed: int, dtype: Any) -> None:
    """The bounds drawn from rounded products hold the factor as it was applied."""
    leaf = np.random.default_rng(seed).standard_normal(100).astype(dtype)
    alias = forward(Transform.parse(f"scale({(sign * factor).hex()})"), [leaf])
    known = find_dtype(leaf.dtype.name) or DTYPES["F32"]
    applied = sign * factor if known.name == "F64" else float(np.float32(sign * factor))

    bounds = feasible_factors(as_bits(leaf), as_bits(alias), known)

    assert bounds is not None
    # Narrow products are rounded twice, which may move a bound by a unit in the last place of float32.
    slack = abs(applied) * 2.0**-23
    assert bounds[0] - slack <= applied <= bounds[1] + slack


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64, ml_dtypes.bfloat16]))
def test_unrelated_leaves_have_no_factor(seed: int, dtype: Any) -> None:
    """No constant takes one random leaf to another."""
    first, second = np.random.default_rng(seed).standard_normal((2, 100)).astype(dtype)

    assert feasible_factors(as_bits(first), as_bits(second), find_dtype(first.dtype.name) or DTYPES["F32"]) is None


@given(st.floats(1e-3, 1e3), st.floats(1e-9, 0.5), signs)
def test_likely_factors_lie_within_bounds(middle: float, width: float, sign: float) -> None:
    """Every suggestion lies within the bounds, there is at least one, and none comes twice."""
    low, high = sorted((sign * middle * (1 - width), sign * middle * (1 + width)))

    found = list(likely_factors((low, high), (768, 50257), DTYPES["F32"]))

    assert found
    assert all(low <= factor <= high for factor in found)
    assert len(set(found)) == len(found)
