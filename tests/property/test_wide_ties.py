"""In float64 a tie is a linear map, and what rounding does on disk is a constant beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import COMPUTING, Pipe, pipes, small_integers
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward
from tiecli.transforms.shapes import stage_specs
from tiecli.verification.devices import float64
from tiecli.verification.wide import WideTie, can_vary, measure_rounding, widen_leaf, widen_tie

jax = pytest.importorskip("jax", reason="jax is not installed")
reals = [
    dtype for dtype in COMPUTING if dtype.kind == "float" and dtype.numpy_name in ("float64", "float32", "bfloat16")
]
varying = [dtype for dtype in COMPUTING if dtype in reals or dtype.kind == "complex"]
scales = st.sampled_from([-1.0, 0.1, 3.7])


def tie_of(pipe: Pipe) -> Tie:
    return Tie(
        KeyPath(("alias",)), tuple(KeyPath((f"leaf{at}",)) for at in range(len(pipe.sources))), Transform(pipe.steps)
    )


def widened(pipe: Pipe) -> WideTie:
    found = widen_tie(tie_of(pipe), pipe.sources)
    assert found is not None
    return found


def random_leaf(array: np.ndarray[Any, Any]) -> Any:
    """A leaf of the same shape and kind, in float64, of random values."""
    rng = np.random.default_rng(array.size)
    values = rng.normal(size=array.shape)
    return jax.numpy.asarray(values + 1j * rng.normal(size=array.shape) if np.iscomplexobj(array) else values)


@given(st.data(), pipes(dtypes=varying, casts=varying, scales=scales))
@settings(max_examples=25, deadline=None)
def test_stored_values_come_out_with_their_rounding(data: st.DataObject, pipe: Pipe) -> None:
    """The linear map and the constant together give what the stored dtypes give, to one rounding of float64."""
    stored = [data.draw(small_integers(source)) for source in pipe.sources]
    alias = np.asarray(forward(Transform(pipe.steps), stored))
    with float64():
        tie, arrays = widened(pipe), [jax.numpy.asarray(widen_leaf(array)) for array in stored]
        made, rounding = tie.make(arrays, jax.numpy), measure_rounding(widened(pipe), stored, alias, jax.numpy)

        assert made.dtype in (np.float64, np.complex128)
        found = np.asarray(made if rounding is None else made + rounding)
    assert np.allclose(found, alias.astype(found.dtype), rtol=1e-15, atol=0)


@given(st.data(), pipes(dtypes=varying, casts=varying, scales=scales))
@settings(max_examples=25, deadline=None)
def test_the_adjoint_loses_nothing_to_casts(data: st.DataObject, pipe: Pipe) -> None:
    """`Re <T x, y> = Re <x, T' y>` to float64's rounding, though the pipe casts to bfloat16 on its way."""
    shaped = [data.draw(small_integers(source)) for source in pipe.sources]
    with float64():
        tie = widened(pipe)
        x = [random_leaf(widen_leaf(array)) for array in shaped]
        tx = tie.make(x, jax.numpy)
        y = random_leaf(np.asarray(tx))
        pulled = tie.pull_back(y, jax.numpy)

        assert [part.dtype for part in pulled] == [array.dtype for array in x]
        left = np.vdot(tx, y).real
        right = sum(np.vdot(array, part).real for array, part in zip(x, pulled, strict=True))
    size = np.abs(tx).ravel() @ np.abs(y).ravel()
    assert abs(left - right) <= 1e-14 * size


@given(pipes(scales=scales))
@settings(max_examples=200, deadline=None)
def test_integers_have_no_gradient(pipe: Pipe) -> None:
    """A tie can be differentiated through unless there are integers, or bools, on its way."""
    stages = (*stage_specs(Transform(pipe.steps).steps, pipe.sources), *pipe.sources)
    assert (widen_tie(tie_of(pipe), pipe.sources) is not None) == all(map(can_vary, stages))
