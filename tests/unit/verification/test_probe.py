"""`tiecli/verification/probe.py`: right ties pass, and every way of being wrong fails by a wide margin."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.verification.memory import MemoryReader, in_memory, make_ties, probe, probe_one
from tiecli.leaves import DTYPES
from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward
from tiecli.transforms.casts import numpy_dtype
from tiecli.verification.devices import choose_device
from tiecli.verification.groups import group_ties
from tiecli.verification.probe import ProbeResult, Sources, judge_gradients, probe_group
from tiecli.verification.tiling import TileSize
from tiecli.verification.verdicts import GradientMeasure

pytest.importorskip("jax", reason="jax comes with the extra `verify`")

Array = NDArray[Any]
BF16 = np.dtype(ml_dtypes.bfloat16)


def draw(*shape: int, seed: int = 0) -> Array:
    """Draws a leaf in float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def draw_complex(*shape: int) -> Array:
    """Draws a leaf in complex64."""
    return (draw(*shape) + 1j * draw(*shape, seed=1)).astype(np.complex64)


def nudge(array: Array, at: tuple[int, ...] = (3, 5)) -> Array:
    """Moves one element by one unit in the last place."""
    moved = np.array(array, order="C")
    # Of a complex number, the real part.
    bits = moved.reshape(-1).view(f"u{min(array.dtype.itemsize, 4)}").reshape(*array.shape, -1)
    bits[(*at, 0)] ^= 1
    return moved


def verdict_of(found: ProbeResult) -> str:
    """Gives a verdict alone."""
    return found.judgement.verdict


def fails_widely(found: ProbeResult) -> bool:
    """Whether it fails by three orders of magnitude, or by a NaN."""
    assert found.measure is not None
    return verdict_of(found) == "FAIL" and not found.measure.error <= 1000 * found.measure.bound


RIGHT: list[tuple[str, tuple[Array, ...]]] = [
    ("same", (draw(8, 8),)),
    ("transpose", (draw(8, 8),)),
    ("transpose(1,2,0)", (draw(4, 5, 6),)),
    ("scale(0.3)", (draw(8, 8).astype(BF16),)),
    ("scale(1e-30)", (draw(8, 8),)),
    ("scale(-1e25) | transpose", (draw(8, 8),)),
    ("neg", (draw(8, 8),)),
    ("cast(bf16)", (draw(8, 8),)),
    ("cast(f32)", (draw(8, 8).astype(BF16),)),
    ("cast(f64)", (draw(8, 8),)),
    ("cast(f8_e4m3)", (draw(8, 8),)),
    ("cast(c64) | conj", (draw(8, 8),)),
    ("[2:7, ::-3]", (draw(8, 8),)),
    ("[-1]", (draw(3, 8, 12),)),
    ("[:, 2]", (draw(3, 8, 12),)),
    ("pad(0,0,3) | pad(1,2,0)", (draw(8, 8),)),
    ("flip(0) | repeat(1, 3)", (draw(8, 8),)),
    ("reshape(4,2,8)", (draw(8, 8),)),
    ("'(h d) m -> d m h', h=2", (draw(8, 8),)),
    ("'(h d) m -> (d h) m', h=2", (draw(8, 8),)),
    ("'(h d) -> (d h)', h=2", (draw(64),)),
    ("concat(0) | transpose", (draw(8, 8), draw(4, 8, seed=1), draw(8, 8, seed=2))),
    ("stack(1) | neg", (draw(8, 8), draw(8, 8, seed=1))),
    ("concat(0) | pad(0,1,0) | reshape(2,-1)", (draw(8, 8), draw(5, 8, seed=1))),
    ("conj | transpose", (draw_complex(8, 8),)),
    ("[1:] | scale(0.7)", (draw_complex(8, 8),)),
    ("same", (draw(8, 8).astype(np.float16),)),
    ("same", (draw(8, 8).astype(ml_dtypes.float8_e5m2),)),
    ("same", (draw(8, 8).astype(np.float64),)),
    ("same", (np.float32(0.3).reshape(()),)),
    ("neg", (draw(1),)),
]


def as_leaves(sources: tuple[Array, ...], transform: str) -> tuple[dict[str, Array], dict[str, Array], str]:
    """Gives the tied leaves, the original ones, and the tie."""
    names = "abc"[: len(sources)]
    tied = dict(zip(names, sources, strict=True))
    made = forward(Transform.parse(transform), list(sources))
    left = f"({', '.join(names)})" if len(sources) > 1 else names
    return tied, {**tied, "alias": made}, f"alias = {left} | {transform}"


@pytest.mark.parametrize(("transform", "sources"), RIGHT, ids=[f"{text} {sources[0].dtype}" for text, sources in RIGHT])
def test_what_is_tied_rightly_passes(transform: str, sources: tuple[Array, ...]) -> None:
    """And one element of the original that is off by an ulp does not; both gradients weigh about the same."""
    tied, original, text = as_leaves(sources, transform)

    found = probe_one(tied, original, text)

    assert verdict_of(found) == "PASS", found
    assert found.measure is not None
    assert found.measure.error <= found.measure.bound / 100
    assert 0.2 < found.measure.dst_norm / found.measure.src_norm < 5
    alias = original["alias"]
    if alias.dtype != np.float64:
        # Beyond what is padded; and one ulp of a float64 is what float64 rounds.
        wrong = nudge(alias, tuple(length // 2 for length in alias.shape))
        assert fails_widely(probe_one(tied, {**original, "alias": wrong}, text))


WRONG: list[tuple[str, str, Array]] = [
    ("same", "transpose", draw(8, 8)),
    ("transpose", "same", draw(8, 8)),
    ("same", "neg", draw(8, 8)),
    ("transpose(1,2,0)", "transpose(2,0,1)", draw(4, 4, 4)),
    ("[:4]", "[4:]", draw(8, 8)),
    ("[::2]", "[1::2]", draw(8, 8)),
    ("[0]", "[1]", draw(8, 8)),
    ("scale(0.3)", "scale(0.30000003)", draw(8, 8)),
    ("scale(0.3)", "scale(0.3) | neg", draw(8, 8)),
    ("flip(0)", "flip(1)", draw(8, 8)),
    ("pad(0,0,1)", "pad(0,1,0)", draw(8, 8)),
    ("transpose", "conj | transpose", draw_complex(8, 8)),
    ("'(h d) m -> (d h) m', h=2", "'(h d) m -> (d h) m', h=4", draw(8, 8)),
    ("repeat(0, 2)", "repeat(0, 2) | flip(0)", draw(8, 8)),
]


@pytest.mark.parametrize(("stated", "true", "leaf"), WRONG, ids=[f"{row[0]} for {row[1]}" for row in WRONG])
def test_a_wrong_transform_fails(stated: str, true: str, leaf: Array) -> None:
    """The untied side knows nothing of it."""
    original = {"a": leaf, "alias": forward(Transform.parse(true), [leaf])}

    assert fails_widely(probe_one({"a": leaf}, original, f"alias = a | {stated}"))


def test_swapped_destinations_fail() -> None:
    """Both of them."""
    a, b = draw(8, 8), draw(8, 8, seed=1)
    original = {"a": a, "b": b, "x": a, "y": b}

    for text in ("x = b", "y = a"):
        assert fails_widely(probe_one({"a": a, "b": b}, original, text))


def test_a_canonical_leaf_that_changed_since_fails_all_its_ties() -> None:
    """By one unit in the last place of one element."""
    leaf = draw(8, 8)

    found = probe({"a": nudge(leaf)}, {"a": leaf, "x": leaf, "y": -leaf}, "x = a", "y = a | neg")

    assert all(map(fails_widely, found.values()))


def test_one_wrong_tie_of_many_is_the_one_that_fails() -> None:
    """The other ninety-five pass."""
    leaf = draw(8, 8)
    original = {"a": leaf, **{f"x{number}": leaf for number in range(96)}}
    original["x41"] = nudge(leaf)

    found = probe({"a": leaf}, original, *(f"x{number} = a" for number in range(96)))

    assert [alias for alias, result in found.items() if verdict_of(result) != "PASS"] == ["x41"]
    assert fails_widely(found["x41"])


def test_one_wrong_layer_of_a_stack_is_the_one_that_fails() -> None:
    """Each alias is one layer of the canonical leaf."""
    stack = draw(6, 8, 8)
    original = {"a": stack, **{f"x{layer}": stack[layer] for layer in range(6)}}
    original["x4"] = stack[3]

    found = probe({"a": stack}, original, *(f"x{layer} = a | [{layer}]" for layer in range(6)))

    assert [alias for alias, result in found.items() if verdict_of(result) == "FAIL"] == ["x4"]


def test_chains_count_every_link() -> None:
    """`c` follows from `b`, which follows from `a`: a wrong `b` in the original does not make `c` wrong."""
    leaf = draw(8, 8)
    original = {"a": leaf, "b": leaf.T, "c": -leaf.T}
    texts = ("b = a | transpose", "c = b | neg")

    assert {*map(verdict_of, probe({"a": leaf}, original, *texts).values())} == {"PASS"}
    found = probe({"a": leaf}, {**original, "b": leaf}, *texts)
    assert [verdict_of(found[alias]) for alias in "bc"] == ["FAIL", "PASS"]


def test_large_numbers_do_not_overflow() -> None:
    """Nor do they hide an ulp, nor do small ones beside them."""
    leaf = draw(8, 8)
    leaf[0], leaf[1], leaf[2], leaf[3] = 3e19, 3.4e38, 1e-38, 1e-44
    assert verdict_of(probe_one({"a": leaf}, {"a": leaf, "x": leaf}, "x = a")) == "PASS"
    for row in range(4):
        assert fails_widely(probe_one({"a": leaf}, {"a": leaf, "x": nudge(leaf, (row, 7))}, "x = a"))

    wide = draw(8, 8).astype(np.float64) * 1e300
    assert verdict_of(probe_one({"a": wide}, {"a": wide, "x": wide}, "x = a")) == "PASS"


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F8_E4M3", "F8_E5M2FNUZ", "F64", "C64"])
def test_what_is_not_finite_on_both_sides_is_left_out(dtype: str) -> None:
    """With a note; on one side only, it fails."""
    with np.errstate(all="ignore"):
        leaf = draw(8, 8).astype(numpy_dtype(DTYPES[dtype]))
        leaf[0, 0] = leaf[7, 7] = np.nan
        plain = leaf.copy()
        leaf[2, 2] = np.inf

    found = probe_one({"a": leaf}, {"a": leaf, "x": leaf}, "x = a")

    assert verdict_of(found) == "PASS", found
    size = "128" if dtype == "C64" else "64"
    assert [
        f"of {size} numbers are NaN or infinite on both sides and were left out" in note for note in found.notes
    ] == [True]
    clean = np.where(np.isfinite(leaf), leaf, leaf.dtype.type(1))
    for tied, original in ((leaf, clean), (clean, leaf), (leaf, plain)):
        if not np.array_equal(tied.view(np.uint8), original.view(np.uint8)):
            assert fails_widely(probe_one({"a": tied}, {"a": tied, "x": original}, "x = a"))


def test_what_an_alias_does_not_take_counts_for_the_leaf_itself() -> None:
    """Be it no number, or changed; tiles of the leaf beyond the alias too."""
    leaf = draw(8, 8)
    leaf[0, 0], leaf[7, 7] = np.nan, np.inf
    original = {"a": leaf, "x": np.ascontiguousarray(leaf[2:5]), "y": leaf[3]}

    for text in ("x = a | [2:5]", "y = a | [3]"):
        assert verdict_of(probe_one({"a": leaf}, original, text)) == "PASS"
        assert fails_widely(probe_one({"a": nudge(leaf, (6, 6))}, original, text))


def test_nan_and_infinity_are_not_the_same() -> None:
    """Nor are the two infinities."""
    leaf = draw(8, 8)
    values = (np.nan, np.inf, -np.inf)
    for tied in values:
        for original in values:
            left, right = leaf.copy(), leaf.copy()
            left[1, 1], right[1, 1] = tied, original
            same = np.array_equal(left, right, equal_nan=True)
            assert verdict_of(probe_one({"a": left}, {"a": left, "x": right}, "x = a")) == ("PASS" if same else "FAIL")


def test_a_leaf_without_a_finite_number_shows_nothing() -> None:
    """The verdict says that the test had no power."""
    leaf = np.full((8, 8), np.nan, np.float32)

    found = probe_one({"a": leaf}, {"a": leaf, "x": leaf}, "x = a")

    assert (verdict_of(found), found.judgement.reason) == ("VACUOUS", "every element is NaN or infinite")


def test_zeros_have_a_gradient() -> None:
    """The loss slopes at zero, so a leaf of zeros is no blind spot; the smallest number is told from it."""
    leaf = np.zeros((8, 8), np.float32)

    assert verdict_of(probe_one({"a": leaf}, {"a": leaf, "x": leaf}, "x = a")) == "PASS"
    assert fails_widely(probe_one({"a": leaf}, {"a": leaf, "x": nudge(leaf)}, "x = a"))


@pytest.mark.parametrize(
    ("transform", "leaf", "reason"),
    [
        ("same", np.arange(6, dtype=np.int32), "I32 has no gradient"),
        ("same", np.array([True, False]), "BOOL has no gradient"),
        ("cast(f32)", np.arange(6, dtype=np.int8), "I8 has no gradient"),
        ("cast(i32) | cast(f32)", np.arange(6, dtype=np.float32), "I32 has no gradient"),
        ("transpose", np.zeros((0, 5), np.float32), "no element follows from another"),
        ("[3:3] | pad(0,2,2)", draw(8, 8), "no element follows from another"),
    ],
)
def test_without_gradients_only_bytes_count(transform: str, leaf: Array, reason: str) -> None:
    """Integers, and leaves without elements."""
    original = {"a": leaf, "alias": forward(Transform.parse(transform), [leaf])}

    found = probe_one({"a": leaf}, original, f"alias = a | {transform}")

    assert (found.judgement.verdict, found.judgement.reason, found.measure) == ("NOT APPLICABLE", reason, None)


def test_an_empty_leaf_beside_others_is_no_matter() -> None:
    """It is joined, and adds nothing."""
    tied = {"a": draw(8, 8), "b": draw(0, 8)}

    assert verdict_of(probe_one(tied, {**tied, "x": tied["a"]}, "x = (a, b) | concat(0)")) == "PASS"


def test_leaves_that_are_not_there_are_named() -> None:
    """In the tied file the manifest is at fault; in the original, the tie."""
    leaf = draw(8, 8)

    assert probe_one({"b": leaf}, {"b": leaf}, "x = a").judgement.reason == "`a` is not stored"
    assert probe_one({"b": leaf}, {"b": leaf}, "x = a").judgement.verdict == "REJECT"
    assert probe_one({"a": leaf}, {"a": leaf}, "x = a").judgement.reason == "the original has no leaf `x`"
    found = probe_one({"a": leaf}, {"a": leaf, "x": leaf[:4]}, "x = a").judgement
    assert (found.verdict, found.reason) == ("FAIL", "`x` is F32 4×8 in the original, and F32 8×8 here")


@pytest.mark.parametrize(("transform", "sources"), RIGHT[:12], ids=[text for text, _ in RIGHT[:12]])
def test_without_the_original_the_manifest_is_taken_at_its_word(transform: str, sources: tuple[Array, ...]) -> None:
    """Which a note says: such a test cannot fail on a wrong transform."""
    tied, _, text = as_leaves(sources, transform)

    found = probe_one(tied, None, text)

    assert verdict_of(found) == "PASS"
    assert found.notes[0].startswith("without the original")


def test_leaves_of_one_tie_may_repeat() -> None:
    """Each time counts."""
    a, b = draw(8, 8), draw(8, 8, seed=1)
    text = "x = (a, b, a) | concat(0)"

    assert verdict_of(probe_one({"a": a, "b": b}, {"a": a, "b": b, "x": np.concatenate([a, b, a])}, text)) == "PASS"
    assert fails_widely(probe_one({"a": a, "b": b}, {"a": a, "b": b, "x": np.concatenate([a, b, b])}, text))


def test_coefficients_by_shape_could_not_tell_destinations_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that treats two leaves alike gives the same gradient to both manifests, by path it does not."""
    a, b = draw(8, 8), draw(8, 8, seed=1)
    tied = {"a": a, "b": b}

    def norms() -> tuple[float, ...]:
        """The gradient that either manifest brings from `x` back to `a`, or from `y`."""
        found = [probe_one(tied, None, text).measure for text in ("x = a", "y = a")]
        return tuple(measure.dst_norm for measure in found if measure is not None)

    by_path = norms()
    monkeypatch.setattr("tiecli.verification.loading.leaf_key", lambda path: 7)
    by_shape = norms()

    assert by_shape[0] == by_shape[1]
    assert abs(by_path[0] - by_path[1]) > 1e-6


def test_gradients_of_any_size_are_judged_by_the_same_rule() -> None:
    """Relative to the largest of both; cancellation is no fault."""
    for size in (1e4, 1e-6, 1e-300):
        assert judge_gradients(GradientMeasure(1e-15 * size, 2e-12 * size, size, size), "a").verdict == "PASS"
        assert judge_gradients(GradientMeasure(1e-11 * size, 2e-12 * size, size, size), "a").verdict == "FAIL"


@pytest.mark.parametrize("field", range(4))
def test_whatever_is_no_number_fails(field: int) -> None:
    """Or at least does not pass."""
    numbers = [1e-16, 2e-12, 1.0, 1.0]
    numbers[field] = float("nan")

    assert judge_gradients(GradientMeasure(*numbers), "a").verdict in ("FAIL", "VACUOUS")


def test_a_gradient_that_is_too_small_is_vacuous() -> None:
    """On either side."""
    assert judge_gradients(GradientMeasure(0.0, 1e-12, 1.0, 1e-10), "a").verdict == "VACUOUS"
    assert judge_gradients(GradientMeasure(0.0, 1e-12, 0.0, 1.0), "a").verdict == "VACUOUS"
    assert judge_gradients(GradientMeasure(0.0, 0.0, 0.0, 0.0), "a").verdict == "VACUOUS"


def test_cancelling_gradients_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same coefficients on both, those of a leaf and of its negative nearly cancel."""
    leaf = draw(8, 8) * np.float32(1e-3)
    monkeypatch.setattr("tiecli.verification.loading.leaf_key", lambda path: 7)

    assert verdict_of(probe_one({"a": leaf}, {"a": leaf, "x": -leaf}, "x = a | neg")) == "PASS"


def test_progress_adds_up_to_the_bytes_of_all_aliases() -> None:
    """Padding is no work."""
    leaf = draw(8, 8)
    original = {"a": leaf, "x": leaf, "y": np.ascontiguousarray(leaf[2:5])}
    told: list[int] = []
    (group,) = group_ties(make_ties("x = a", "y = a | [2:5]"))

    probe_group(group, Sources(in_memory({"a": leaf}), in_memory(original)), choose_device("cpu"), told.append)

    assert sum(told) == (8 + 3) * 8 * 4


@pytest.mark.parametrize("transform", ["transpose", "'(h d) m -> h m d', h=50", "stack(0)"])
def test_large_leaves_are_read_in_small_pieces(transform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the transform, and with the same result."""
    leaf = draw(400, 300)
    sources = (leaf, draw(400, 300, seed=1)) if transform == "stack(0)" else (leaf,)
    tied, original, text = as_leaves(sources, transform)
    whole = probe_one(tied, original, text).measure
    monkeypatch.setattr("tiecli.verification.probe.tile_size", lambda *_: TileSize(4096, 1024))
    readers = MemoryReader(tied), MemoryReader(original)
    (group,) = group_ties(make_ties(text))

    (found,) = probe_group(group, Sources(*readers), choose_device("cpu")).values()  # type: ignore[arg-type]

    assert verdict_of(found) == "PASS"
    assert max(reader.held for reader in readers) <= 4096 * 4
    assert whole is not None
    assert found.measure is not None
    assert found.measure.src_norm == pytest.approx(whole.src_norm, rel=1e-9)
    assert found.measure.dst_norm == pytest.approx(whole.dst_norm, rel=1e-9)


def test_errors_of_readers_come_through() -> None:
    """From whatever thread."""

    class Broken(MemoryReader):
        def read_into(self, *_: object) -> None:
            """Fails."""
            raise OSError("gone")

        read_block = read_into  # type: ignore[assignment]

    leaf = draw(8, 8)
    (group,) = group_ties(make_ties("x = a"))
    with pytest.raises(OSError, match="gone"):
        probe_group(group, Sources(Broken({"a": leaf}), in_memory({"a": leaf, "x": leaf})), choose_device("cpu"))  # type: ignore[arg-type]
