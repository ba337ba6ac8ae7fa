"""Statistics of leaves: what the bits tell is what numpy says of the values, however they are cut into blocks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.detect.leaves_on_disk import store
from tiecli.leaves import DTYPES, DType
from tiecli.linting.statistics import LeafStatistics, take_statistics

FLOATS = [dtype for dtype in DTYPES.values() if dtype.kind in ("float", "complex")]
OTHERS = [dtype for dtype in DTYPES.values() if dtype.kind in ("integer", "bool", "packed")]


def numpy_type(dtype: DType) -> np.dtype[np.generic]:
    """The dtype as numpy or ml_dtypes have it."""
    return np.dtype(getattr(ml_dtypes, dtype.numpy_name, None) or dtype.numpy_name)


@st.composite
def bit_patterns(draw: st.DrawFn, dtype: DType) -> NDArray[np.uint8]:
    """Draws stored bytes of a leaf: runs of zeros, of special values, and of anything at all."""
    width = dtype.bits // 8 or 3
    part = width // 2 if dtype.kind == "complex" else width
    sign, half = 1 << (8 * part - 1), numpy_type(DTYPES["F32"] if dtype.kind == "complex" else dtype)
    special = [0, sign, 2 * sign - 1, sign - 1, 1]
    if dtype.kind in ("float", "complex"):
        with np.errstate(all="ignore"):
            ends = np.array([np.inf, -np.inf, np.nan, 1e30, 1], np.float64).astype(half)
        special += [int.from_bytes(end.tobytes(), "little") for end in ends]
    element = st.sampled_from(special) | st.integers(0, 2 * sign - 1)
    runs = draw(st.lists(st.tuples(element, st.integers(1, 40)), min_size=1, max_size=6))
    raw = b"".join(pattern.to_bytes(part, "little") * count for pattern, count in runs)
    return np.frombuffer(raw[: len(raw) // width * width] or bytes(width), np.uint8)


def measure(raw: NDArray[np.uint8], dtype: DType, block_nbytes: int, *, ranges: bool = False) -> LeafStatistics:
    """Writes a leaf and takes its statistics."""
    leaf = (dtype.name, (raw.size * 8 // dtype.bits,), raw.tobytes())
    with tempfile.TemporaryDirectory() as directory, store(Path(directory) / "x.safetensors", {"x": leaf}) as reader:
        statistics = take_statistics(reader, ranges=ranges, block_nbytes=block_nbytes)
    assert not statistics.unread
    return statistics.leaves["x"]


def count_tail(raw: NDArray[np.uint8], width: int) -> int:
    """Counts the bytes of the zero elements at the end."""
    filled = np.flatnonzero(raw.reshape(-1, width).any(axis=1))
    return raw.size - (int(filled[-1]) + 1) * width if filled.size else raw.size


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_floats_are_counted_as_numpy_counts_them(dtype: DType, data: st.DataObject) -> None:
    """NaN, infinities, zeros and the zeros at the end, of random bit patterns of every float dtype."""
    raw = data.draw(bit_patterns(dtype))
    with np.errstate(invalid="ignore"):
        values = raw.view(numpy_type(dtype)).astype(np.complex128 if dtype.kind == "complex" else np.float64)
    found = measure(raw, dtype, data.draw(st.sampled_from([24, 48, 240, 24 << 10])))

    assert found.nan == np.isnan(values).sum()
    assert found.inf == np.isinf(values).sum()
    assert found.is_zero == (values == 0).all()
    width = 4 if dtype.kind == "complex" else dtype.bits // 8
    assert found.zero_tail == count_tail(raw, width)


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
@given(data=st.data())
def test_other_leaves_are_zero_or_not(dtype: DType, data: st.DataObject) -> None:
    """Integers, booleans and packed elements hold neither NaN nor infinities."""
    raw = data.draw(bit_patterns(dtype))
    found = measure(raw, dtype, data.draw(st.sampled_from([24, 72, 24 << 10])))

    assert (found.nan, found.inf) == (0, 0)
    assert found.is_zero == (not raw.any())
    assert found.zero_tail == count_tail(raw, max(dtype.bits // 8, 1))


@pytest.mark.parametrize("name", ["BF16", "F32", "F64", "C64"])
@given(data=st.data())
def test_the_span_is_that_of_the_finite_values(name: str, data: st.DataObject) -> None:
    """Binary orders between the smallest and the largest finite magnitude, subnormal ones included."""
    dtype = DTYPES[name]
    raw = data.draw(bit_patterns(dtype))
    half = numpy_type(DTYPES["F32"] if name == "C64" else dtype)
    with np.errstate(invalid="ignore"):
        magnitudes = np.abs(raw.view(half).astype(np.float64))
    finite = magnitudes[np.isfinite(magnitudes) & (magnitudes > 0)]
    expected = int(np.frexp(finite.max())[1] - np.frexp(finite.min())[1]) if finite.size else 0

    assert measure(raw, dtype, data.draw(st.sampled_from([24, 240, 24 << 10])), ranges=True).span == expected
