"""A transform under `jax.numpy` gives what it gives under numpy, in `jit` and in `grad` too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import Pipe, pipes, small_integers
from tiecli.leaves import DTYPES
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, forward

jax = pytest.importorskip("jax", reason="jax is not installed")
floats = [DTYPES["F64"], DTYPES["F32"], DTYPES["BF16"], DTYPES["F16"]]
exact_scales = st.sampled_from([-1.0, 2.0, -4.0, 0.5, 3.0])


@given(st.data(), pipes(dtypes=floats, casts=floats, scales=exact_scales))
@settings(max_examples=40, deadline=None)
def test_jax_agrees_with_numpy(data: st.DataObject, pipe: Pipe) -> None:
    """Forward and adjoint agree on whole numbers, dtypes included."""
    transform = Transform(pipe.steps)
    arrays = [data.draw(small_integers(source)) for source in pipe.sources]
    cotangent = data.draw(small_integers(transform.spec(pipe.sources)))
    with jax.enable_x64(True):
        found = forward(transform, [jax.numpy.asarray(array) for array in arrays], jax.numpy)
        pulled = adjoint(transform, jax.numpy.asarray(cotangent), pipe.sources, jax.numpy)

        expected = forward(transform, arrays)
        assert found.dtype == expected.dtype
        assert np.array_equal(np.asarray(found), expected)
        for part, other in zip(pulled, adjoint(transform, cotangent, pipe.sources), strict=True):
            assert part.dtype == other.dtype
            assert np.array_equal(np.asarray(part), other)


@given(st.data(), pipes(dtypes=floats[:2], casts=floats[:2], scales=exact_scales))
@settings(max_examples=15, deadline=None)
def test_the_adjoint_is_the_one_that_jax_derives(data: st.DataObject, pipe: Pipe) -> None:
    """`jax.vjp` of the jitted forward gives our adjoint, exactly, on whole numbers."""
    transform = Transform(pipe.steps)
    arrays = [data.draw(small_integers(source)) for source in pipe.sources]
    cotangent = data.draw(small_integers(transform.spec(pipe.sources)))
    with jax.enable_x64(True):
        apply = jax.jit(lambda *leaves: forward(transform, leaves, jax.numpy))
        derived = jax.vjp(apply, *map(jax.numpy.asarray, arrays))[1](jax.numpy.asarray(cotangent))

        for part, other in zip(adjoint(transform, cotangent, pipe.sources), derived, strict=True):
            assert np.array_equal(part, np.asarray(other))
