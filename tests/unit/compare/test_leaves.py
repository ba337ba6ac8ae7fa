"""Comparing leaves on disk: bits decide, and what differs is measured."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import xxhash

from tests.unit.detect.leaves_on_disk import Stored, at, store
from tiecli.boxes import split_boxes, split_tiles
from tiecli.compare import CHUNK_NBYTES, Comparison, compare_leaf, digest_leaf
from tiecli.errors import SourceChangedError, TransformMismatchError
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import SAME, TRANSPOSE, Transform

RNG = np.random.default_rng(7)


def compare(
    directory: Path,
    alias: Stored,
    canonical: Stored,
    transform: str = "same",
    *,
    measure: bool = True,
    digests: bool = False,
    cosine: bool = False,
    block_nbytes: int = 1 << 20,
) -> Comparison:
    """Stores two leaves and compares them."""
    with store(directory / "two.safetensors", {"c": canonical, "a": alias}) as reader:
        return compare_leaf(
            reader,
            at("a"),
            reader,
            (at("c"),),
            Transform.parse(transform),
            measure=measure,
            digests=digests,
            cosine=cosine,
            block_nbytes=block_nbytes,
        )


def test_equal_bytes_are_equal(tmp_path: Path) -> None:
    """Two leaves of the same bytes do not differ anywhere, and nothing is measured."""
    leaf = RNG.standard_normal((300, 700)).astype(np.float32)

    found = compare(tmp_path, leaf, leaf.copy())

    assert found == Comparison(210_000, 0)
    assert found.equal


def test_same_needs_no_numpy_while_bytes_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The everyday proof of a tie starts up without numpy: measuring is imported at the first difference only."""
    monkeypatch.setitem(__import__("sys").modules, "tiecli.compare.differences", None)
    leaf = RNG.standard_normal(100).astype(np.float32)

    assert compare(tmp_path, leaf, leaf, digests=True).equal
    with pytest.raises(ImportError, match="differences"):
        compare(tmp_path, leaf, leaf + 1)


def test_negative_zero_is_not_zero(tmp_path: Path) -> None:
    """`-0.0` differs from `0.0`, by no distance and no ulp."""
    found = compare(tmp_path, np.float32([0.0, 1.0]), np.float32([-0.0, 1.0]))

    assert (found.differing, found.first, found.max_abs, found.max_ulp) == (1, (0,), 0.0, 0)


def test_nans_are_equal_by_payload(tmp_path: Path) -> None:
    """A NaN equals a NaN of the same bits; another payload counts as a difference that has no size."""
    nans = np.array([0x7FC00001, 0x3F800000], np.uint32)
    other = np.array([0x7FC00002, 0x3F800000], np.uint32)

    same = compare(tmp_path, nans.view(np.float32), nans.view(np.float32))
    apart = compare(tmp_path, nans.view(np.float32), other.view(np.float32))

    assert same.equal
    assert (apart.differing, apart.max_abs, apart.max_rel, apart.max_ulp) == (1, None, None, None)


def test_pairs_with_an_infinity_are_counted_but_not_measured(tmp_path: Path) -> None:
    """An infinity against a number differs; the largest difference is taken over the other pairs."""
    found = compare(tmp_path, np.float32([np.inf, 1.0, 3.0]), np.float32([5.0, 1.5, 3.0]))

    assert (found.differing, found.max_abs, found.worst) == (2, 0.5, (1,))


def test_differences_that_overflow_are_still_measured(tmp_path: Path) -> None:
    """The gap between the largest floats of either sign is finite, though not in their own dtype."""
    largest = float(np.finfo(np.float32).max)

    found = compare(tmp_path, np.float32([largest]), np.float32([-largest]))

    assert found.max_abs == 2 * largest
    assert found.max_rel == 2


@pytest.mark.parametrize(
    ("dtype", "ulp"),
    [
        (np.float64, 1),
        (np.float32, 1),
        (np.float16, 1),
        (ml_dtypes.bfloat16, 1),
        (ml_dtypes.float8_e4m3fn, 1),
        (ml_dtypes.float8_e5m2, 1),
        (ml_dtypes.float8_e8m0fnu, 1),
    ],
)
def test_one_bit_is_one_ulp(tmp_path: Path, dtype: type, ulp: int) -> None:
    """Flipping the last bit of one element is found where it is, as one ulp, in every float dtype."""
    leaf = np.abs(RNG.standard_normal((40, 50))).astype(dtype) + dtype(1)
    other = leaf.copy()
    other.view(f"u{leaf.dtype.itemsize}")[17, 3] ^= 1

    found = compare(tmp_path, other, leaf)

    assert (found.differing, found.first, found.worst, found.max_ulp) == (1, (17, 3), (17, 3), ulp)
    assert found.max_abs == abs(float(other[17, 3]) - float(leaf[17, 3]))


def test_ulps_are_counted_across_zero(tmp_path: Path) -> None:
    """From the smallest negative to the smallest positive float it is two steps."""
    tiny = np.float32(1e-45)

    assert compare(tmp_path, np.array([tiny]), np.array([-tiny])).max_ulp == 2


def test_measures_agree_with_plain_arithmetic(tmp_path: Path) -> None:
    """Over several chunks, with everything different, each measure is what float64 arithmetic gives."""
    left = RNG.standard_normal((500, 400))
    right = left + 1e-3 * RNG.standard_normal(left.shape)

    found = compare(tmp_path, left, right, cosine=True)
    gap = np.abs(left - right)

    assert left.nbytes > CHUNK_NBYTES
    assert found.differing == np.count_nonzero(left != right)
    assert found.first == (0, 0)
    assert found.max_abs == gap.max()
    assert found.worst == np.unravel_index(gap.argmax(), gap.shape)
    assert found.max_rel == pytest.approx((gap / np.maximum(np.abs(left), np.abs(right))).max())
    assert found.cosine == pytest.approx((left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum()))


def test_integers_are_measured_exactly(tmp_path: Path) -> None:
    """The gap of two 64-bit integers may need 64 bits without a sign."""
    found = compare(tmp_path, np.array([2**63 - 1, 4]), np.array([-(2**63), 4]))

    assert (found.max_abs, found.max_ulp, found.max_rel) == (float(2**64 - 1), None, 2.0)


def test_complex_numbers_are_measured_by_modulus(tmp_path: Path) -> None:
    """3 + 4i is 5 away from zero, and ulps make no sense."""
    found = compare(tmp_path, np.array([3 + 4j, 1], np.complex64), np.array([0, 1], np.complex64))

    assert (found.max_abs, found.max_rel, found.max_ulp) == (5.0, 1.0, None)


def test_booleans_are_counted_only(tmp_path: Path) -> None:
    """Booleans differ or do not."""
    found = compare(tmp_path, np.array([[True, False, True]]), np.array([[True, True, False]]))

    assert (found.differing, found.first, found.max_abs) == (2, (0, 1), None)


@pytest.mark.parametrize(("code", "elements", "position"), [("F4", 8, 5), ("F6_E2M3", 8, 4), ("F6_E3M2", 8, 7)])
def test_packed_elements_are_counted_one_by_one(tmp_path: Path, code: str, elements: int, position: int) -> None:
    """A flipped bit inside a byte that several elements share counts for one of them."""
    bits = DTYPES[code].bits
    raw = bytes(range(elements * bits // 8))
    flipped = bytearray(raw)
    flipped[position * bits // 8] ^= 1 << (position * bits % 8)

    found = compare(tmp_path, (code, (elements,), bytes(flipped)), (code, (elements,), raw))

    assert (found.size, found.differing, found.first, found.max_abs) == (elements, 1, (position,), None)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_empty_leaves_are_equal(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Where there is nothing, nothing differs, under any transform."""
    leaf = np.zeros(shape, np.float32)

    assert compare(tmp_path, leaf, leaf, digests=True).equal
    assert compare(tmp_path, leaf.T, leaf, "same" if leaf.ndim == 1 else "transpose").equal


def test_scalars_are_compared(tmp_path: Path) -> None:
    """A scalar's only index is empty."""
    found = compare(tmp_path, np.float32(2).reshape(()), np.float32(4).reshape(()), "scale(0.25)")

    assert (found.size, found.differing, found.first, found.max_abs) == (1, 1, (), 1.0)


def test_without_measuring_it_stops_at_the_first_difference(tmp_path: Path) -> None:
    """Progress ends where the leaves part, and the result says that it is not complete."""
    leaf = RNG.standard_normal(200_000).astype(np.float32)
    other = leaf.copy()
    other[60_000:] += 1
    seen: list[int] = []
    with store(tmp_path / "two.safetensors", {"c": leaf, "a": other}) as reader:
        found = compare_leaf(reader, at("a"), reader, (at("c"),), SAME, measure=False, progress=seen.append)

    assert (found.differing, found.first, found.complete) == (1, (60_000,), False)
    assert sum(seen) < other.nbytes


@pytest.mark.parametrize("block_nbytes", [64, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("shape", "transform"),
    [
        ((33, 65), "transpose"),
        ((128, 256), "transpose"),
        ((5, 6, 7), "transpose(2,0,1)"),
        ((5, 6, 7), "transpose(0,2,1)"),
        ((4, 3, 5), "'a b c -> c (a b)'"),
        ((40, 30), "[:17]"),
        ((40, 30), "[3:9, 4:] | transpose"),
        ((40, 30), "pad(0,0,3) | scale(0.3)"),
        ((40, 30), "cast(bf16)"),
        ((7, 12), "reshape(4,21) | flip(1)"),
    ],
)
def test_transformed_leaves_are_equal_block_by_block(
    tmp_path: Path, shape: tuple[int, ...], transform: str, block_nbytes: int
) -> None:
    """What a transform gives on the whole array is found equal, however small the blocks; one bit off is found."""
    from tiecli.transforms.arrays import forward

    canonical = RNG.standard_normal(shape).astype(np.float32)
    alias = np.ascontiguousarray(forward(Transform.parse(transform), [canonical]))
    off = alias.copy()
    off.reshape(-1).view(f"u{off.dtype.itemsize}")[alias.size // 2] ^= 1
    where = tuple(int(i) for i in np.unravel_index(alias.size // 2, alias.shape))

    assert compare(tmp_path, alias, canonical, transform, block_nbytes=block_nbytes).equal
    found = compare(tmp_path, off, canonical, transform, block_nbytes=block_nbytes)
    assert (found.differing, found.first) == (1, where)


def test_several_sources_are_joined(tmp_path: Path) -> None:
    """`concat` compares with the joined leaves, and digests each of them."""
    q, k = RNG.standard_normal((2, 4, 6)).astype(np.float32)
    with store(tmp_path / "x.safetensors", {"q": q, "k": k, "qk": np.concatenate([q, k])}) as reader:
        joined = Transform.parse("concat(0)")
        found = compare_leaf(reader, at("qk"), reader, (at("q"), at("k")), joined, measure=False, digests=True)

    assert found.equal
    assert found.canonical_digests == tuple(f"xxh3_128:{xxhash.xxh3_128_hexdigest(part.tobytes())}" for part in (q, k))


@pytest.mark.parametrize("differ", [False, True])
@pytest.mark.parametrize("transform", ["same", "transpose"])
@pytest.mark.parametrize("measure", [False, True])
def test_digests_are_of_the_stored_bytes(tmp_path: Path, transform: str, differ: bool, measure: bool) -> None:
    """Each side's digest is over all its bytes as stored, whether the sides are equal or not."""
    canonical = RNG.standard_normal((300, 400)).astype(np.float32)
    alias = np.ascontiguousarray(canonical.T if transform == "transpose" else canonical).copy()
    alias[100, 100] += differ

    found = compare(tmp_path, alias, canonical, transform, measure=measure, digests=True)

    assert found.equal is not differ
    assert found.alias_digest == f"xxh3_128:{xxhash.xxh3_128_hexdigest(alias.tobytes())}"
    assert found.canonical_digests == (f"xxh3_128:{xxhash.xxh3_128_hexdigest(canonical.tobytes())}",)


def test_digest_leaf_takes_the_bytes_as_stored(tmp_path: Path) -> None:
    """The digest of a leaf is that of its bytes; of an empty one, that of nothing."""
    leaf = RNG.standard_normal(100_001).astype(np.float32)
    with store(tmp_path / "x.safetensors", {"w": leaf, "none": np.zeros(0, np.float32)}) as reader:
        digests = digest_leaf(reader, at("w")), digest_leaf(reader, at("none"))

    assert digests == tuple(f"xxh3_128:{xxhash.xxh3_128_hexdigest(raw)}" for raw in (leaf.tobytes(), b""))


def test_a_transform_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """The error names the leaf, its spec, and what the transform would give."""
    leaf = np.zeros((3, 4), np.float32)
    with pytest.raises(TransformMismatchError, match="`a` is F32 3×4, but the transform `transpose` gives F32 4×3"):
        compare(tmp_path, leaf, leaf, "transpose")


def test_a_file_cut_short_is_noticed(tmp_path: Path) -> None:
    """Bytes that vanish between the header and the read are an error of ours."""
    leaf = np.zeros(1000, np.float32)
    with store(tmp_path / "x.safetensors", {"c": leaf, "a": leaf}) as reader:
        with (tmp_path / "x.safetensors").open("r+b") as file:
            file.truncate(4000)
        with pytest.raises(SourceChangedError, match="changed while it was read"):
            compare_leaf(reader, at("a"), reader, (at("c"),), SAME, measure=False)


def test_leaves_of_two_checkpoints_are_compared(tmp_path: Path) -> None:
    """The canonical leaf may stand in another checkpoint."""
    leaf = RNG.standard_normal((5, 7)).astype(np.float32)
    left = store(tmp_path / "l.safetensors", {"w": np.ascontiguousarray(leaf.T)})
    right = store(tmp_path / "r.safetensors", {"w": leaf})
    with left, right:
        assert compare_leaf(left, at("w"), right, (at("w"),), TRANSPOSE, measure=False).equal


@pytest.mark.parametrize("split", [split_boxes, split_tiles])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (4, 1, 6), (2, 3, 4, 5), (3, 0)])
@pytest.mark.parametrize("nbytes", [1, 10, 16, 50, 1000])
def test_boxes_cover_a_leaf_once(split: object, shape: tuple[int, ...], nbytes: int) -> None:
    """Boxes and tiles partition the leaf, and none is larger than asked, but for single elements."""
    spec = LeafSpec(shape, DTYPES["BF16"])
    covered = np.zeros(shape, int)
    for box in split(spec, nbytes):  # type: ignore[operator]
        covered[tuple(slice(*pair) for pair in box)] += 1
        assert np.prod([stop - start for start, stop in box]) <= max(1, nbytes // 2)

    assert (covered == 1).all()
