"""Arrays: the number semantics of each step, bit by bit where bits are promised."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tests.property.strategies_transforms import COMPUTING
from tiecli.errors import TransformMismatchError
from tiecli.leaves import DTYPES, DType, LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, array_spec, forward
from tiecli.transforms.casts import cast_array, numpy_dtype
from tiecli.transforms.exactness import holds_every_value


def every_value(name: str) -> np.ndarray:
    """All bit patterns of a dtype of 8 or 16 bits, and a stride through the wider ones."""
    dtype = DTYPES[name]
    if dtype.kind == "bool":
        return np.array([False, True])
    if dtype.bits <= 16:
        return np.arange(2**dtype.bits).astype(f"u{dtype.bits // 8}").view(numpy_dtype(dtype))
    bits = np.random.default_rng(0).bytes(2**16 * dtype.bits // 8)
    return np.frombuffer(bits, numpy_dtype(dtype))


@pytest.mark.parametrize("source", [dtype for dtype in COMPUTING if dtype.kind != "complex"], ids=str)
@pytest.mark.parametrize("target", [dtype for dtype in COMPUTING if dtype.kind != "complex"], ids=str)
def test_casts_that_hold_every_value_can_be_undone_and_others_cannot(source: DType, target: DType) -> None:
    """The table of exact casts is right in both directions, over all patterns of narrow dtypes."""
    values = every_value(source.name)
    there = cast_array(values, source, target)
    back = cast_array(there, target, source)

    if holds_every_value(target, source):
        assert back.tobytes() == values.tobytes()
    else:
        # Integers of one size hold each other's bits, but as other values.
        assert back.tobytes() != values.tobytes() or values.tolist() != there.tolist()


@pytest.mark.parametrize("name", ["BF16", "F16", "F8_E5M2", "F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2FNUZ"])
def test_casts_from_float64_round_once(name: str) -> None:
    """A hair above a midpoint goes up, though float32 in between would lose the hair."""
    dtype = DTYPES[name]
    finite = every_value(name)
    with np.errstate(all="ignore"):
        finite = np.unique(finite[np.isfinite(finite)].astype(np.float64))
    middles = (finite[:-1] + finite[1:]) / 2
    hair = np.abs(middles) * 2.0**-40 + 2.0**-200

    up = cast_array(middles + hair, DTYPES["F64"], dtype).astype(np.float64)
    down = cast_array(middles - hair, DTYPES["F64"], dtype).astype(np.float64)

    assert np.array_equal(up, finite[1:])
    assert np.array_equal(down, finite[:-1])


@pytest.mark.parametrize("source", ["I64", "U64", "I32", "U32"])
def test_casts_from_integers_to_bfloat16_round_once(source: str) -> None:
    """Wide integers are rounded to nearest even in one go."""
    dtype = DTYPES[source]
    top = dtype.bits - dtype.name.startswith("I")
    exact = [(1 << power) + sign * offset for power in range(9, top) for sign in (1, -1) for offset in (0, 1)]
    middles = [(1 << power) + (1 << (power - 8)) + offset for power in range(9, top) for offset in (-1, 0, 1)]
    values = [value for value in [*exact, *middles] if value < 2**top]
    if source.startswith("I"):
        values += [-value for value in values]

    found = cast_array(np.array(values, numpy_dtype(dtype)), dtype, DTYPES["BF16"]).astype(np.float64)

    assert [Fraction(value) for value in found] == [nearest_bfloat16(value) for value in values]


def nearest_bfloat16(value: int) -> Fraction:
    """Rounds to eight binary digits, ties to even, with whole numbers only."""
    unit = 1 << max(abs(value).bit_length() - 8, 0)
    return Fraction(round(Fraction(value, unit)) * unit)


def test_casts_to_integers_truncate_saturate_and_send_nan_to_zero() -> None:
    """What C leaves open is the same on every machine."""
    values = np.array([1.9, -1.9, 300.0, -300.0, np.inf, -np.inf, np.nan], np.float32)

    assert cast_array(values, DTYPES["F32"], DTYPES["I8"]).tolist() == [1, -1, 127, -128, 127, -128, 0]
    assert cast_array(values, DTYPES["F32"], DTYPES["U64"]).tolist() == [1, 0, 300, 0, 2**64 - 1, 0, 0]
    assert cast_array(values, DTYPES["F32"], DTYPES["I64"])[4:6].tolist() == [2**63 - 1, -(2**63)]
    assert cast_array(values, DTYPES["F32"], DTYPES["BOOL"]).tolist() == [True] * 7


@pytest.mark.parametrize(
    ("source", "bits", "target", "expected"),
    [
        ("F32", 0x7FC00000, "BF16", 0x7FC0),
        ("F32", 0xFFC00000, "BF16", 0xFFC0),
        ("F32", 0x7F800001, "BF16", 0x7FC0),
        ("F32", 0xFFAB0000, "BF16", 0xFFAB),
        ("BF16", 0x7F81, "F32", 0x7F810000),
        ("F16", 0x7C01, "F64", 0x7FF0040000000000),
        ("F64", 0xFFF8000000000000, "F8_E4M3", 0xFF),
        ("F64", 0xFFF8000000000000, "F8_E5M2FNUZ", 0x80),
        ("F64", 0xFFF8000000000000, "F8_E8M0", 0xFF),
        ("F8_E4M3FNUZ", 0x80, "F32", 0x7FC00000),
        ("F8_E4M3", 0xFF, "F16", 0xFE00),
    ],
)
def test_casts_keep_the_sign_and_the_leading_payload_of_nan(source: str, bits: int, target: str, expected: int) -> None:
    """A NaN stays a NaN, with what the new format has room for."""
    array = np.array([bits], f"u{DTYPES[source].bits // 8}").view(numpy_dtype(DTYPES[source]))

    found = cast_array(array, DTYPES[source], DTYPES[target])

    assert found.view(f"u{found.dtype.itemsize}").tolist() == [expected]


@pytest.mark.parametrize(
    "text", ["flip(0) | flip(0) | transpose", "neg | transpose", "pad(0,1,1) | [1:-1] | transpose"]
)
def test_structure_and_signs_keep_the_bits_of_nan(text: str) -> None:
    """Signalling NaNs and negative zeros come through as they are, but for the sign where it is asked for."""
    bits = np.array([[0x7F800001, 0x80000000, 0xFFC12345]], np.uint32)

    found = forward(Transform.parse(text), [bits.view(np.float32)]).view(np.uint32)

    assert found.T.tolist() == (bits ^ np.uint32("neg" in text) * np.uint32(1 << 31)).tolist()


def test_scale_computes_in_the_precision_of_the_leaf() -> None:
    """Wide floats in their own dtype, narrow ones in float32 and rounded once."""
    scale = Transform.parse("scale(0.1)")
    values = np.arange(-100, 100) / 7

    assert np.array_equal(forward(scale, [values]), values * 0.1)
    single = values.astype(np.float32)
    assert np.array_equal(forward(scale, [single]), single * np.float32(0.1))
    for name in ("bfloat16", "float16", "float8_e4m3fn"):
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        narrow = values.astype(dtype)
        expected = (narrow.astype(np.float32) * np.float32(0.1)).astype(dtype)
        assert forward(scale, [narrow]).tobytes() == expected.tobytes()


def test_scale_and_signs_of_complex_leaves_act_on_each_part() -> None:
    """No infinity becomes NaN by way of a complex product."""
    array = np.array([complex(np.inf, 1.0), complex(-0.0, 2.0)], np.complex64)

    assert forward(Transform.parse("scale(2)"), [array]).tolist() == [complex(np.inf, 2.0), complex(-0.0, 4.0)]
    assert str(forward(Transform.parse("neg"), [array])[1]) == "-2j"
    assert forward(Transform.parse("conj"), [array]).tolist() == [complex(np.inf, -1.0), complex(-0.0, -2.0)]


def test_negating_formats_without_a_negative_zero_keeps_zero_and_nan() -> None:
    """In the FNUZ formats the sign bit alone is NaN, which stays NaN; zero stays zero."""
    bits = np.array([0x00, 0x80, 0x01, 0x81], np.uint8)

    found = forward(Transform.parse("neg"), [bits.view(ml_dtypes.float8_e4m3fnuz)])

    assert found.view(np.uint8).tolist() == [0x00, 0x80, 0x81, 0x01]


def test_repeat_puts_copies_next_to_each_other() -> None:
    """`repeat` is `numpy.repeat`, not `numpy.tile`."""
    assert forward(Transform.parse("repeat(0,2)"), [np.array([1, 2])]).tolist() == [1, 1, 2, 2]


def test_numpy_scalars_and_foreign_dtypes() -> None:
    """A numpy scalar is a leaf without axes; a dtype that no checkpoint has is refused."""
    assert array_spec(forward(Transform.parse("neg"), [np.float32(1.0)])) == LeafSpec((), DTYPES["F32"])
    with pytest.raises(TransformMismatchError, match="an array of dtype `complex128` is no leaf of a checkpoint"):
        forward(Transform.parse("neg"), [np.zeros(3, np.complex128)])


def test_adjoint_of_repeat_sums_narrow_floats_in_float32() -> None:
    """Copies of 1 sum to their number, where bfloat16 would get stuck at 256."""
    (found,) = adjoint(
        Transform.parse("repeat(0,1000)"), np.ones(1000, ml_dtypes.bfloat16), [LeafSpec((1,), DTYPES["BF16"])]
    )

    assert found.dtype == ml_dtypes.bfloat16
    assert found.tolist() == [1000.0]


def test_adjoint_refuses_what_has_none() -> None:
    """A cotangent of the wrong shape, and gradients of integers, are refused by name."""
    spec = LeafSpec((3,), DTYPES["I32"])
    with pytest.raises(TransformMismatchError, match=r"`cast\(F32\)` from I32 3 has no adjoint"):
        adjoint(Transform.parse("cast(F32)"), np.zeros(3, np.float32), [spec])
    with pytest.raises(TransformMismatchError, match=r"a cotangent of shape \(4,\) does not fit the result, I32 3"):
        adjoint(Transform.parse("same"), np.zeros(4, np.float32), [spec])


def test_adjoint_keeps_a_wider_cotangent_wide() -> None:
    """Probes run in float64 whatever the leaf's dtype, up to the first cast."""
    spec = LeafSpec((2, 3), DTYPES["BF16"])
    (found,) = adjoint(Transform.parse("[:, 1:] | transpose | scale(0.1)"), np.ones((2, 2)), [spec])

    assert found.dtype == np.float64
    assert found.tolist() == [[0.0, 0.1, 0.1], [0.0, 0.1, 0.1]]
