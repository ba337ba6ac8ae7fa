"""Values: what canonical leaves' slots become is what whole arrays give, whatever the size of the blocks."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.strategies_transforms import Pipe, pipes, small_integers
from tiecli.checkpoints.memory import ArrayReader
from tiecli.errors import StateConflictError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.moments.values import Contribution, is_within, merged_blocks, zero_blocks
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint
from tiecli.transforms.casts import numpy_dtype

F64 = DTYPES["F64"]
SLOT, OTHER, THIRD = (KeyPath((name,)) for name in ("slot", "other", "third"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(7)


def read(arrays: Mapping[KeyPath, NDArray[np.generic]]) -> ArrayReader:
    """Gives arrays as a checkpoint."""
    names = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64"}
    return ArrayReader(arrays, {path: LeafSpec(it.shape, DTYPES[names[it.dtype.name]]) for path, it in arrays.items()})


def merge(reader: ArrayReader, *parts: Contribution, nbytes: int = 1 << 20) -> NDArray[np.generic]:
    """Gives the merged slot as one array."""
    spec = reader.specs()[SLOT]
    raw = b"".join(bytes(block) for block in merged_blocks(reader, SLOT, parts, nbytes))
    return np.frombuffer(raw, numpy_dtype(spec.dtype)).reshape(spec.shape)


@given(st.data(), pipes(dtypes=[F64], casts=[F64], scales=st.sampled_from([-1.0, 2.0, 0.5])), st.integers(1, 200))
def test_any_tie_is_merged_as_whole_arrays_are(data: st.DataObject, pipe: Pipe, nbytes: int) -> None:
    """Of each leaf that an alias is made of."""
    transform = Transform(pipe.steps)
    alias = data.draw(small_integers(transform.spec(pipe.sources)))
    pulled = adjoint(transform, alias, pipe.sources)
    for part, source in enumerate(pipe.sources):
        own = data.draw(small_integers(source))
        found = merge(
            read({SLOT: own, OTHER: alias}), Contribution(OTHER, transform, pipe.sources, part), nbytes=nbytes
        )
        assert np.array_equal(found, own + pulled[part])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("nbytes", [1, 64, 1000, 1 << 20])
def test_sums_are_rounded_once(dtype: type[np.generic], nbytes: int, rng: np.random.Generator) -> None:
    """Two aliases of one leaf, summed in float64: no block, and no dtype, sees an intermediate rounding."""
    own, other, third = (rng.standard_normal(shape).astype(dtype) for shape in ((7, 5), (5, 7), (3, 5)))
    parts = (
        Contribution(OTHER, Transform.parse("transpose"), (LeafSpec((7, 5), F64),)),
        Contribution(THIRD, Transform.parse("[2:5] | scale(0.375)"), (LeafSpec((7, 5), F64),)),
    )
    whole = own.astype(np.float64) + other.astype(np.float64).T
    whole[2:5] += third.astype(np.float64) * 0.375

    found = merge(read({SLOT: own, OTHER: other, THIRD: third}), *parts, nbytes=nbytes)

    assert found.tobytes() == round_once(whole, dtype).tobytes()


def round_once(values: NDArray[np.float64], dtype: type[np.generic]) -> NDArray[np.generic]:
    """Rounds to nearest even by hand where ml_dtypes would round twice."""
    if dtype is not ml_dtypes.bfloat16:
        return values.astype(dtype)
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype(dtype)


def test_what_takes_every_other_layer_is_pulled_back_whole(rng: np.random.Generator) -> None:
    """No move does that; the result is the same."""
    own, other = rng.standard_normal((6, 2)), rng.standard_normal((3, 2))
    part = Contribution(OTHER, Transform.parse("[::2]"), (LeafSpec((6, 2), F64),))
    expected = own.copy()
    expected[::2] += other

    assert np.array_equal(merge(read({SLOT: own, OTHER: other}), part, nbytes=16), expected)


def test_complex_slots_are_conjugated(rng: np.random.Generator) -> None:
    """An alias that is the conjugate gathered the conjugate gradient."""
    own, other = ((rng.standard_normal(4) + 1j * rng.standard_normal(4)).astype(np.complex64) for _ in range(2))
    part = Contribution(OTHER, Transform.parse("conj | scale(2)"), (LeafSpec((4,), DTYPES["C64"]),))
    expected = (own.astype(np.complex128) + 2 * other.astype(np.complex128).conj()).astype(np.complex64)

    assert merge(read({SLOT: own, OTHER: other}), part).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("own", "other", "signed", "says"),
    [
        (
            np.array([60000], np.float16),
            np.array([60000], np.float16),
            True,
            "`slot` is F16, which cannot hold the sum",
        ),
        (np.array([3e38], np.float32), np.array([3e38], np.float32), True, "`slot` is F32, which cannot hold the sum"),
        (np.ones(1), -np.ones(1), False, "`other` holds negative values"),
        (-np.ones(1), np.ones(1), False, "`slot` holds negative values"),
    ],
)
def test_what_cannot_be_right_is_refused(
    own: NDArray[np.generic], other: NDArray[np.generic], signed: bool, says: str
) -> None:
    """Sums that become infinite, and squares below zero."""
    part = Contribution(OTHER, Transform.parse("same"), (LeafSpec((1,), F64),), signed=signed)

    with pytest.raises(StateConflictError, match=says):
        merge(read({SLOT: own, OTHER: other}), part)


def test_infinities_and_nan_that_were_there_stay() -> None:
    """A run that diverged is none of ours to mend."""
    own = np.array([np.inf, np.nan, 1], np.float32)
    part = Contribution(OTHER, Transform.parse("same"), (LeafSpec((3,), F64),))

    assert np.array_equal(merge(read({SLOT: own, OTHER: own}), part), np.float32([np.inf, np.nan, 2]), equal_nan=True)


@pytest.mark.parametrize(
    ("values", "bound", "expected"),
    [([0.0, -0.0], 0.0, True), ([0.0, 1e-38], 0.0, False), ([1e-30, -1e-30], 1.1e-30, True), ([2e-30], 1e-30, False)],
)
def test_whether_anything_was_gathered(values: list[float], bound: float, expected: bool) -> None:
    """Zeros of either sign, and what an optimizer adds to every square, are nothing."""
    assert is_within(read({SLOT: np.float32(values)}), SLOT, bound) == expected


def test_zeros() -> None:
    """As many bytes as the leaf has."""
    spec = LeafSpec((1000, 1001), DTYPES["BF16"])

    assert b"".join(bytes(block) for block in zero_blocks(spec)) == bytes(spec.nbytes)
