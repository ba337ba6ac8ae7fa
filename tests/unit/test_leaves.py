"""Leaves: the dtype table, and the size of a leaf."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tiecli.leaves import DTYPES, LeafSpec, find_dtype

# Source: safetensors 0.8.0, `enum Dtype`.
SAFETENSORS_CODES = [
    *("BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
    *("I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64"),
]


def test_the_table_is_the_format_s_own() -> None:
    """Every code of the format is known, in the order that its writer sorts by."""
    assert list(DTYPES) == SAFETENSORS_CODES
    assert all(dtype.name == code for code, dtype in DTYPES.items())


@pytest.mark.parametrize("code", SAFETENSORS_CODES)
def test_numpy_knows_each_dtype_by_its_other_name(code: str) -> None:
    """The second name is that of numpy or ml_dtypes, with elements of the size that the table says."""
    dtype = DTYPES[code]
    numpy_dtype = np.dtype(getattr(ml_dtypes, dtype.numpy_name, dtype.numpy_name))

    assert numpy_dtype.itemsize * 8 == max(dtype.bits, 8)


@pytest.mark.parametrize("code", SAFETENSORS_CODES)
def test_find_dtype_knows_every_spelling(code: str) -> None:
    """A dtype is found by either name, in any case."""
    dtype = DTYPES[code]

    assert {find_dtype(name) for name in (code, code.lower(), dtype.numpy_name, dtype.numpy_name.upper())} == {dtype}


@pytest.mark.parametrize("name", ["", "F128", "float", "bf-16", " F32"])
def test_find_dtype_does_not_guess(name: str) -> None:
    """A name that no dtype has gives nothing."""
    assert find_dtype(name) is None


def test_packed_dtypes_are_those_below_a_byte() -> None:
    """Whatever is stored in less than a byte is marked as packed, and nothing else is."""
    assert {dtype.name for dtype in DTYPES.values() if dtype.kind == "packed"} == {
        dtype.name for dtype in DTYPES.values() if dtype.bits < 8
    }


@pytest.mark.parametrize(
    ("code", "shape", "nbytes"),
    [
        ("F32", (), 4),
        ("F32", (0, 5), 0),
        ("BF16", (3, 5), 30),
        ("C64", (2,), 16),
        ("F4", (4,), 2),
        ("F6_E2M3", (4,), 3),
        ("BOOL", (7,), 7),
    ],
)
def test_size_in_bytes(code: str, shape: tuple[int, ...], nbytes: int) -> None:
    """A leaf takes as many bytes as its elements do, packed ones included."""
    assert LeafSpec(shape, DTYPES[code]).nbytes == nbytes


def test_how_a_spec_is_shown() -> None:
    """A spec reads as dtype and shape; a scalar says so."""
    assert str(LeafSpec((2, 3), DTYPES["BF16"])) == "BF16 2×3"
    assert str(LeafSpec((), DTYPES["I64"])) == "I64 scalar"
