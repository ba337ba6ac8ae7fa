"""The adjoint of a transform is its transposed map."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import Pipe, pipes, small_integers
from tiecli.leaves import DTYPES
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, forward

exact_scales = st.sampled_from([-1.0, 2.0, -4.0, 0.5, 3.0])
wide = [DTYPES["F64"], DTYPES["F32"]]


@given(st.data(), pipes(dtypes=[DTYPES["F64"]], casts=wide, scales=exact_scales))
@settings(max_examples=300, deadline=None)
def test_the_dot_products_are_equal(data: st.DataObject, pipe: Pipe) -> None:
    """`<T x, y> == <x, T' y>`, exactly, on whole numbers."""
    transform = Transform(pipe.steps)
    arrays = [data.draw(small_integers(source)) for source in pipe.sources]
    cotangent = data.draw(small_integers(transform.spec(pipe.sources)))

    pulled = adjoint(transform, cotangent, pipe.sources)

    assert [(part.shape, part.dtype) for part in pulled] == [(array.shape, array.dtype) for array in arrays]
    left = np.sum(forward(transform, arrays) * cotangent, dtype=np.float64)
    assert left == sum(np.sum(array * part, dtype=np.float64) for array, part in zip(arrays, pulled, strict=True))


@given(st.data(), pipes(dtypes=[DTYPES["C64"]], casts=[DTYPES["C64"]], scales=exact_scales))
@settings(deadline=None)
def test_the_real_dot_products_of_complex_leaves_are_equal(data: st.DataObject, pipe: Pipe) -> None:
    """`Re <T x, y> == Re <x, T' y>`, exactly, on whole complex numbers."""
    transform = Transform(pipe.steps)
    arrays = [data.draw(small_integers(source)) for source in pipe.sources]
    cotangent = data.draw(small_integers(transform.spec(pipe.sources)))

    pulled = adjoint(transform, cotangent, pipe.sources)

    left = np.sum((forward(transform, arrays).conj() * cotangent).real)
    assert left == sum(np.sum((array.conj() * part).real) for array, part in zip(arrays, pulled, strict=True))
