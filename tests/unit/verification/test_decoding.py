"""`tiecli/verification/decoding.py`: every value of every float dtype reaches the device as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tiecli.leaves import DTYPES
from tiecli.transforms.casts import numpy_dtype
from tiecli.verification.decoding import Decoded, decode, encode, form_of, top_of
from tiecli.verification.devices import float64

pytest.importorskip("jax", reason="jax comes with the extra `verify`")

NARROW = [dtype for dtype in DTYPES.values() if dtype.kind == "float" and dtype.bits <= 16]
SINGLES = [0.0, 1e-45, 1.17549421e-38, 1.17549435e-38, 1.0, 3e19, 1.7014118e38, 3.40282347e38]


def decode_on_device(array: NDArray[Any], name: str, *, wide: bool = True, top: float | None = None) -> Decoded:
    """Decodes in jitted code."""
    import jax

    form = form_of(DTYPES[name])
    with float64():
        found = jax.jit(lambda bits: decode(bits, form, top or top_of([form]), wide=wide))(encode(array, form))
        return Decoded(np.asarray(found.values), np.asarray(found.weights))


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_every_value_of_a_narrow_dtype_is_exact(dtype: Any, wide: bool) -> None:
    """Subnormals and negative zeros too; what is infinite or no number stands apart from all of them."""
    bits = np.arange(2**dtype.bits, dtype=f"u{dtype.bits // 8}")
    array = bits.view(numpy_dtype(dtype))
    with np.errstate(invalid="ignore"):
        expected = array.astype(np.float64)
    finite = np.isfinite(expected)

    values, weights = decode_on_device(array, dtype.name, wide=wide)

    assert np.array_equal(values[finite], expected[finite])
    assert np.array_equal(np.signbit(values[finite]), np.signbit(expected[finite]))
    assert (np.abs(values[~finite]) >= 2.0**128).all()
    assert np.isinf(weights[~finite]).all()
    assert np.isfinite(weights[finite]).all()


@pytest.mark.parametrize("wide", [True, False])
def test_single_precision_is_exact_at_its_edges(wide: bool) -> None:
    """Devices would flush the second and the third to zero."""
    array = np.array(SINGLES + [-value for value in SINGLES], np.float32)

    assert np.array_equal(decode_on_device(array, "F32", wide=wide).values, array.astype(np.float64))


def test_weights_bring_every_value_near_one() -> None:
    """So that one unit in the last place weighs the same at any size."""
    array = np.array([1.17549435e-38, 0.3, 1.0, 1.9999, 3e19, 1.6e38, 3.4e38], np.float32)

    values, weights = decode_on_device(array, "F32")

    assert ((values * weights >= 1) & (values * weights < 4)).all()


def test_double_precision_is_kept() -> None:
    """Up to subnormals, which devices flush; infinities and NaNs are told apart."""
    array = np.array([0.0, -1e300, 1e-300, np.inf, -np.inf, np.nan])

    values, weights = decode_on_device(array, "F64")

    assert np.array_equal(values[:3], array[:3])
    assert values[3] == -values[4] == 2.0**1023 < values[5]
    assert np.isfinite(weights).tolist() == [True, True, True, False, False, False]


def test_complex_numbers_are_pairs() -> None:
    """Real parts first."""
    array = np.array([[1 + 2j, -3 - 1e-45j]], np.complex64)

    assert decode_on_device(array, "C64").values.tolist() == [[[1.0, 2.0], [-3.0, float(np.float32(-1e-45))]]]


def test_what_stands_for_infinity_is_the_same_across_widths() -> None:
    """A float32 infinity that was cast to float64 is the same infinity."""
    narrow = decode_on_device(np.array([np.inf, -np.inf], np.float32), "F32", top=2.0**1023).values
    wide = decode_on_device(np.array([np.inf, -np.inf]), "F64").values

    assert np.array_equal(narrow, wide)
