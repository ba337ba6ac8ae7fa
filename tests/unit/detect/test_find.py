"""Finding: every kind of tie, and everything that only looks like one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.detect.leaves_on_disk import Stored, at, store
from tiecli.detect import FindReport, find_ties

BF16 = ml_dtypes.bfloat16
Names = Iterable[tuple[str, str]]


def find(directory: Path, leaves: Mapping[str, Stored], declared: Names = (), named: Names = ()) -> FindReport:
    """Stores leaves and searches them."""
    with store(directory / "model.safetensors", leaves) as reader:
        pairs = [[(at(canonical), at(alias)) for canonical, alias in names] for names in (declared, named)]
        return find_ties(reader, *pairs)


def shown(report: FindReport) -> list[str]:
    """The hits, one line each: kind, alias, canonical leaf, every transform that fits (or the one it is near under)."""
    lines = []
    for hit in report.hits:
        fits = ", ".join(map(str, hit.fits or (hit.transform,)))
        lines.append(f"{hit.kind}: {hit.alias.spelling} = {hit.canonical.spelling} | {fits}")
    return lines


def normal(*shape: int, seed: int = 0, dtype: type = np.float32) -> NDArray[np.generic]:
    """A leaf of random numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


# Small leaves are read whole, large ones are sampled: both ways must find the same.
SHAPES = [(24, 40), (300, 700)]


@pytest.mark.parametrize("shape", [(7,), (2,), *SHAPES, (3, 4, 5), (50_000,), (40, 30, 60)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BF16, ml_dtypes.float8_e4m3fn, np.complex64])
def test_identical(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """Two leaves of the same bits are one, whatever their dtype; the first one stored is kept."""
    leaf = normal(*shape, dtype=dtype)

    report = find(tmp_path, {"a": leaf, "other": normal(*shape, seed=1, dtype=dtype), "b": leaf})

    assert shown(report) == ["identical: b = a | same"]
    assert report.hits[0].nbytes == leaf.nbytes


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((24, 40), (1, 0)),
        ((300, 700), (1, 0)),
        ((64, 64), (1, 0)),
        ((512, 512), (1, 0)),
        ((6, 7, 8), (2, 0, 1)),
        ((60, 40, 60), (2, 1, 0)),
        ((60, 40, 60), (0, 2, 1)),
        ((4, 5, 4, 5), (2, 3, 0, 1)),
        ((9, 1, 11), (2, 1, 0)),
    ],
)
def test_transposed(tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """A leaf with its axes permuted is found, under the one permutation that gives it."""
    leaf = normal(*shape)
    turned = np.ascontiguousarray(leaf.transpose(axes))

    report = find(tmp_path, {"a": leaf, "b": turned, "c": normal(*turned.shape, seed=1)})

    assert [(hit.kind, hit.alias.spelling, hit.canonical.spelling) for hit in report.hits] == [("transposed", "b", "a")]
    from tiecli.transforms.arrays import forward

    assert np.array_equal(forward(report.hits[0].transform, [leaf]), turned)
    assert len(report.hits[0].fits) == 1


@pytest.mark.parametrize(
    ("source", "target", "transform"),
    [
        ((1, 24, 40), (24, 40), "reshape(24,40)"),
        ((24, 40), (24, 40, 1, 1), "reshape(24,40,1,1)"),
        ((1, 24, 40), (40, 24), "transpose(0,2,1) | reshape(40,24)"),
    ],
)
def test_axes_of_length_one_come_and_go(
    tmp_path: Path, source: tuple[int, ...], target: tuple[int, ...], transform: str
) -> None:
    """A leaf with axes of length 1 added or taken away is the same leaf, turned or not."""
    from tiecli.transforms import Transform
    from tiecli.transforms.arrays import forward

    leaf = normal(*source)
    alias = np.ascontiguousarray(forward(Transform.parse(transform), [leaf]))
    assert alias.shape == target

    assert shown(find(tmp_path, {"a": leaf, "b": alias})) == [f"transposed: b = a | {transform}"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(
    ("wide", "narrow", "code"),
    [
        (np.float64, np.float32, "F32"),
        (np.float32, BF16, "BF16"),
        (np.float32, np.float16, "F16"),
        (np.float32, ml_dtypes.float8_e4m3fn, "F8_E4M3"),
        (BF16, ml_dtypes.float8_e5m2, "F8_E5M2"),
    ],
)
def test_cast(tmp_path: Path, shape: tuple[int, int], turn: bool, wide: type, narrow: type, code: str) -> None:
    """A rounded copy follows from the wide leaf, wherever either is stored."""
    leaf = normal(*shape, dtype=wide)
    copy = np.ascontiguousarray((leaf.T if turn else leaf).astype(narrow))

    report = find(tmp_path, {"narrow": copy, "other": normal(*shape, seed=1, dtype=narrow), "wide": leaf})

    expected = f"{'transpose | ' * turn}cast({code})"
    assert shown(report) == [f"cast: narrow = wide | {expected}"]


def test_cast_keeps_the_wide_leaf_even_if_it_holds_no_more(tmp_path: Path) -> None:
    """A widened copy of a narrow leaf stays canonical: more will be written to it."""
    narrow = normal(24, 40, dtype=BF16)

    assert shown(find(tmp_path, {"narrow": narrow, "wide": narrow.astype(np.float32)})) == [
        "cast: narrow = wide | cast(BF16)"
    ]


@pytest.mark.parametrize(
    ("shape", "rows"), [((40, 24), 33), ((40, 24), 5), ((700, 300), 512), ((64,), 40), ((9, 5, 6), 4)]
)
def test_prefix(tmp_path: Path, shape: tuple[int, ...], rows: int) -> None:
    """The first rows of a longer leaf follow from it."""
    leaf = normal(*shape)

    report = find(tmp_path, {"short": leaf[:rows].copy(), "x": normal(rows, *shape[1:], seed=1), "long": leaf})

    assert shown(report) == [f"prefix: short = long | [:{rows}]"]


@pytest.mark.parametrize("shape", [(40, 24), (700, 300)])
def test_prefix_through_a_transpose(tmp_path: Path, shape: tuple[int, int]) -> None:
    """A head stored the other way round is the first rows of a padded embedding, or the first columns."""
    leaf = normal(*shape)
    rows = shape[0] - 7

    turned = find(tmp_path, {"long": leaf, "short": np.ascontiguousarray(leaf[:rows].T)})
    columns = find(tmp_path, {"long": np.ascontiguousarray(leaf.T), "short": np.ascontiguousarray(leaf[:rows].T)})

    assert shown(turned) == [f"prefix: short = long | [:{rows}] | transpose"]
    assert shown(columns) == [f"prefix: short = long | [:, :{rows}]"]


def test_padding_with_zeros_follows_the_embedding(tmp_path: Path) -> None:
    """Where names say that the shorter leaf is kept, the longer one is that with zeros behind."""
    embedding = normal(40, 24)
    padded = np.concatenate([embedding, np.zeros((8, 24), np.float32)])

    report = find(tmp_path, {"lm_head.weight": padded, "model.embed_tokens.weight": embedding})

    assert shown(report) == ["prefix: lm_head.weight = model.embed_tokens.weight | pad(0,0,8)"]


def test_padding_with_something_else_keeps_the_longer_leaf(tmp_path: Path) -> None:
    """An embedding cannot give back a head whose padding holds values, but the head can give the embedding."""
    embedding = normal(40, 24)
    padded = np.concatenate([embedding, normal(8, 24, seed=1)])

    report = find(tmp_path, {"lm_head.weight": padded, "model.embed_tokens.weight": embedding})

    assert shown(report) == ["prefix: model.embed_tokens.weight = lm_head.weight | [:40]"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, BF16])
@pytest.mark.parametrize("factor", [2.0, -0.25, 1 / 3, 0.1, "root", "inverse root", 7.25, 1e-3, -1.0])
def test_scaled(tmp_path: Path, shape: tuple[int, int], dtype: type, factor: float | str) -> None:
    """A multiple is found, with a constant that gives every element exactly."""
    from tiecli.transforms import Transform
    from tiecli.transforms.arrays import forward

    roots = {"root": sqrt(shape[1]), "inverse root": 1 / sqrt(shape[1])}
    constant = roots[factor] if isinstance(factor, str) else factor
    leaf = normal(*shape, dtype=dtype)
    alias = forward(Transform.parse(f"scale({constant.hex()})"), [leaf])

    report = find(tmp_path, {"a": leaf, "b": alias, "c": normal(*shape, seed=1, dtype=dtype)})

    assert [(hit.kind, {hit.alias.spelling, hit.canonical.spelling}) for hit in report.hits] == [("scaled", {"a", "b"})]
    hit = report.hits[0]
    source, target = (leaf, alias) if hit.canonical == at("a") else (alias, leaf)
    assert forward(hit.transform, [source]).tobytes() == target.tobytes()


def test_scaled_by_a_root_says_so(tmp_path: Path) -> None:
    """The constant is the root of the leaf's length itself, not a number that happens to round alike."""
    leaf = normal(300, 700, dtype=BF16)
    alias = (leaf.astype(np.float32) * np.float32(sqrt(700))).astype(BF16)

    report = find(tmp_path, {"model.embed_tokens.weight": leaf, "lm_head.weight": alias})

    assert shown(report)[0].startswith(f"scaled: lm_head.weight = model.embed_tokens.weight | scale({sqrt(700).hex()}")


def test_scaled_and_transposed(tmp_path: Path) -> None:
    """A multiple is found the other way round as well."""
    leaf = normal(24, 40)

    report = find(tmp_path, {"a": leaf, "b": np.ascontiguousarray(leaf.T) * np.float32(0.5)})

    assert shown(report) == ["scaled: b = a | transpose | scale(0x1p-1)"]


@pytest.mark.parametrize("layer", [(24, 40), (64, 64), (200, 300), (20,)])
def test_slice(tmp_path: Path, layer: tuple[int, ...]) -> None:
    """A leaf that is one layer of a stacked leaf follows from it."""
    stack = normal(6, *layer)

    report = find(tmp_path, {"layer": stack[3].copy(), "x": normal(*layer, seed=1), "stack": stack})

    assert shown(report) == ["slice: layer = stack | [3]"]


def test_slice_of_equal_layers_is_ambiguous(tmp_path: Path) -> None:
    """Where two layers of the stack are equal, both are named."""
    stack = normal(4, 8, 6)
    stack[2] = stack[0]

    assert shown(find(tmp_path, {"stack": stack, "layer": stack[2].copy()})) == ["ambiguous: layer = stack | [0], [2]"]


@pytest.mark.parametrize("side", [8, 64, 300])
def test_symmetric_leaves_are_ambiguous(tmp_path: Path, side: int) -> None:
    """A symmetric leaf fits `same` and `transpose`, and both are named."""
    leaf = normal(side, side)
    leaf += leaf.T.copy()

    report = find(tmp_path, {"mix": leaf, "gate": leaf.copy()})

    assert shown(report) == ["ambiguous: gate = mix | same, transpose"]


@pytest.mark.parametrize("side", [8, 64, 300])
def test_identity_matrices_are_ambiguous_and_not_constant(tmp_path: Path, side: int) -> None:
    """A large identity matrix shows nothing but zeros in samples, yet is not constant."""
    report = find(tmp_path, {"a": np.eye(side, dtype=np.float32), "b": np.eye(side, dtype=np.float32)})

    assert shown(report) == ["ambiguous: b = a | same, transpose"]
    assert report.constant_leaves == 0


def test_sparse_leaves_are_found_turned(tmp_path: Path) -> None:
    """Two leaves whose samples hold nothing but zeros are told apart by reading them."""
    leaf = np.zeros((300, 300), np.float32)
    leaf[7, 200], leaf[9, 100] = 1.5, 2.5
    other = np.zeros((300, 300), np.float32)
    other[8, 200], other[9, 100] = 1.5, 2.5

    assert shown(find(tmp_path, {"a": leaf, "b": leaf.T.copy(), "c": other})) == ["transposed: b = a | transpose"]


@pytest.mark.parametrize("shape", [(8,), (24, 24), (300, 300), (50_000,)])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.0, np.nan])
def test_constant_leaves_are_not_ties(tmp_path: Path, shape: tuple[int, ...], value: float) -> None:
    """Fresh norms and zero biases are equal by construction; they are counted apart."""
    leaf = np.full(shape, value, np.float32)

    report = find(tmp_path, {"a": leaf, "b": leaf.copy(), "x": normal(*shape)})

    assert report.hits == ()
    assert report.constant_leaves == 2


def test_constant_leaves_are_ties_where_declared(tmp_path: Path) -> None:
    """A declared tie of two zero biases is one; a name alone does not make it one."""
    leaves = {"a": np.zeros(20, np.float32), "b": np.zeros(20, np.float32)}

    assert shown(find(tmp_path, leaves, declared=[("b", "a")])) == ["identical: a = b | same"]
    assert shown(find(tmp_path, leaves, named=[("b", "a")])) == []


def test_a_declared_square_of_zeros_is_ambiguous(tmp_path: Path) -> None:
    """Nothing says which way round a constant square is tied."""
    leaves = {"a": np.zeros((4, 4), np.float32), "b": np.zeros((4, 4), np.float32)}

    assert shown(find(tmp_path, leaves, declared=[("a", "b")])) == ["ambiguous: b = a | same, transpose"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, BF16, np.float16])
def test_one_bit_off_is_drifted(tmp_path: Path, shape: tuple[int, int], dtype: type) -> None:
    """A copy with one bit flipped is no tie; the difference is measured."""
    leaf = normal(*shape, dtype=dtype)
    other = leaf.copy()
    other.view(f"u{leaf.dtype.itemsize}")[-1, -1] ^= 1

    report = find(tmp_path, {"a": leaf, "b": other})

    assert shown(report) == ["drifted: b = a | same"]
    comparison = report.hits[0].comparison
    assert comparison is not None
    assert (comparison.differing, comparison.max_ulp) == (1, 1)
    assert comparison.first == tuple(length - 1 for length in shape)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (300, 300)])
def test_drifted_everywhere(tmp_path: Path, shape: tuple[int, int], turn: bool) -> None:
    """A copy that was trained on by itself is near, and measured, whichever way round it is stored."""
    leaf = normal(*shape)
    other = np.ascontiguousarray(
        (leaf + 0.05 * normal(*shape, seed=1)).T if turn else leaf + 0.05 * normal(*shape, seed=1)
    )

    report = find(tmp_path, {"a": leaf, "b": other.astype(np.float32), "c": normal(*other.shape, seed=2)})

    assert shown(report) == [f"drifted: b = a | {'transpose' if turn else 'same'}"]
    comparison = report.hits[0].comparison
    assert comparison is not None
    assert comparison.differing == leaf.size


def test_drifted_under_a_scale_and_a_cast(tmp_path: Path) -> None:
    """What is nearly a rounded multiple is near under that."""
    leaf = normal(200, 300)
    other = (3 * (leaf + 0.02 * normal(200, 300, seed=1))).astype(BF16)

    report = find(tmp_path, {"a": leaf, "b": other})

    assert [(hit.kind, hit.canonical.spelling) for hit in report.hits] == [("drifted", "a")]
    assert str(report.hits[0].transform).startswith("scale(0x1.8")
    assert str(report.hits[0].transform).endswith("| cast(BF16)")


def test_drifted_copies_equal_to_each_other(tmp_path: Path) -> None:
    """Two equal copies of a leaf, both one bit off, are identical to each other and drifted from it."""
    leaf = normal(200, 300)
    other = leaf.copy()
    other[150, 250] += 1

    report = find(tmp_path, {"a": leaf, "b": other, "c": other.copy()})

    assert shown(report) == ["identical: c = b | same", "drifted: b = a | same"]


def test_declared_pairs_that_differ_are_drifted_however_far(tmp_path: Path) -> None:
    """A declared pair is reported, though nothing else connects it."""
    leaves = {"head": normal(24, 40, seed=1), "embed": normal(24, 40)}

    report = find(tmp_path, leaves, declared=[("embed", "head")])

    assert shown(report) == ["drifted: head = embed | same"]


@pytest.mark.parametrize(("share", "hits"), [(0.0, []), (0.9, ["drifted: head = embed | same"])])
def test_pairs_by_name_alone_have_drifted_only_if_they_resemble(tmp_path: Path, share: float, hits: list[str]) -> None:
    """An untied model is no drifted one; one trained apart from a common start is."""
    embed = normal(24, 40)
    head = share * embed + (1 - share) * normal(24, 40, seed=1)

    assert shown(find(tmp_path, {"head": head, "embed": embed}, named=[("embed", "head")])) == hits


def test_stated_pairs_of_another_shape_or_length(tmp_path: Path) -> None:
    """A stated pair is held against each other turned, cut or padded as the shapes demand, or not at all."""
    leaves = {
        "embed": normal(24, 40),
        "turned": normal(40, 24, seed=1),
        "short": normal(20, 40, seed=2),
        "long": normal(30, 40, seed=3),
        "narrow": normal(24, 40, seed=4, dtype=BF16),
        "vector": normal(40, seed=5),
        "codes": np.arange(24 * 40, dtype=np.int32).reshape(24, 40) % 77,
    }

    report = find(tmp_path, leaves, declared=[("embed", name) for name in leaves if name != "embed"])

    assert shown(report) == [
        "drifted: turned = embed | transpose",
        "drifted: short = embed | [:20]",
        "drifted: long = embed | pad(0,0,6)",
        "drifted: narrow = embed | cast(BF16)",
    ]


def test_a_name_alone_does_not_make_a_padded_leaf_drifted(tmp_path: Path) -> None:
    """A longer head that has nothing of the embedding is no tie; one whose rows are near the embedding's is."""
    embedding = normal(200, 40)
    head = normal(208, 40, seed=1)
    near = head.copy()
    near[:200] = embedding + np.float32(0.01) * head[:200]

    assert shown(find(tmp_path, {"embed": embedding, "head": head}, named=[("embed", "head")])) == []
    assert shown(find(tmp_path, {"embed": embedding, "head": near}, named=[("embed", "head")])) == [
        "drifted: head = embed | pad(0,0,8)"
    ]


def test_the_declared_direction_is_kept(tmp_path: Path) -> None:
    """What the checkpoint declares weighs more than names, and names more than the order."""
    leaf = normal(24, 40)
    leaves = {"lm_head.weight": leaf, "model.embed_tokens.weight": leaf.copy()}

    by_name = find(tmp_path, leaves)
    declared = find(tmp_path, leaves, declared=[("lm_head.weight", "model.embed_tokens.weight")])

    assert shown(by_name) == ["identical: lm_head.weight = model.embed_tokens.weight | same"]
    assert shown(declared) == ["identical: model.embed_tokens.weight = lm_head.weight | same"]


def test_three_equal_leaves_hang_on_one(tmp_path: Path) -> None:
    """Of k equal leaves k - 1 follow from the one to keep, turned ones among them."""
    leaf = normal(24, 40)
    leaves = {
        "encoder.embed_tokens.weight": leaf,
        "lm_head.kernel": np.ascontiguousarray(leaf.T),
        "lm_head.weight": leaf.copy(),
        "shared.weight": leaf.copy(),
    }

    assert shown(find(tmp_path, leaves)) == [
        "identical: encoder.embed_tokens.weight = shared.weight | same",
        "identical: lm_head.weight = shared.weight | same",
        "transposed: lm_head.kernel = shared.weight | transpose",
    ]


def test_nans_of_one_payload_are_identical_others_not(tmp_path: Path) -> None:
    """NaNs are compared by their bits."""
    bits = normal(24, 40).view(np.uint32).copy()
    bits[3, 4] = 0x7FC00001
    other = bits.copy()
    other[3, 4] = 0x7FC00002

    same = find(tmp_path, {"a": bits.view(np.float32), "b": bits.copy().view(np.float32)})
    apart = find(tmp_path, {"a": bits.view(np.float32), "b": other.view(np.float32)})

    assert shown(same) == ["identical: b = a | same"]
    assert shown(apart) == ["drifted: b = a | same"]


def test_negative_zero_is_not_zero(tmp_path: Path) -> None:
    """A leaf with one zero negated is not the same leaf."""
    leaf = normal(24, 40)
    leaf[0, 0] = 0.0
    other = leaf.copy()
    other[0, 0] = -0.0

    assert shown(find(tmp_path, {"a": leaf, "b": other})) == ["drifted: b = a | same"]


@pytest.mark.parametrize("code", ["F4", "F6_E2M3", "F6_E3M2"])
@pytest.mark.parametrize("elements", [1920, 320_000])
def test_packed_leaves_are_found_identical_only(tmp_path: Path, code: str, elements: int) -> None:
    """Elements smaller than a byte cannot be turned; equal bytes of one spec are one leaf."""
    nbytes = elements * (4 if code == "F4" else 6) // 8
    raw = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8).tobytes()
    leaves = {
        "a": (code, (40, elements // 40), raw),
        "turned": (code, (elements // 40, 40), raw),
        "x": (code, (40, elements // 40), raw[::-1]),
        "b": (code, (40, elements // 40), raw),
    }

    assert shown(find(tmp_path, leaves)) == ["identical: b = a | same"]


def test_leaves_of_many_axes_are_found_identical_only(tmp_path: Path) -> None:
    """Above the rank that transforms go up to, equal leaves are still one, and drifted or stacked ones no matter."""
    leaf = normal(2, 2, 2, 2, 2, 2, 2, 2, 2)
    leaves = {"a": leaf, "b": leaf.copy(), "turned": np.ascontiguousarray(leaf.T), "layer": leaf[1].copy()}

    report = find(tmp_path, leaves, declared=[("a", "turned")])

    assert shown(report) == ["identical: b = a | same", "drifted: turned = a | same"]


def test_integers_count_where_they_look_like_weights(tmp_path: Path) -> None:
    """Quantised weights are searched; position indices, masks and small tables are not."""
    codes = np.random.default_rng(0).integers(-128, 128, (64, 64), np.int8)
    positions = np.arange(2048).reshape(1, -1)
    mask = np.tri(64, dtype=bool)
    leaves: dict[str, Stored] = {}
    for name in "ab":
        leaves |= {f"{name}.q": codes, f"{name}.position_ids": positions, f"{name}.mask": mask}
        leaves |= {f"{name}.few": np.arange(100) ** 2 % 17, f"{name}.kinds": np.arange(2048) // 500}

    report = find(tmp_path, leaves)

    assert shown(report) == ["identical: b.q = a.q | same"]
    assert report.skipped == 4


def test_masks_and_indices_count_where_declared(tmp_path: Path) -> None:
    """A declared tie is looked at whatever the leaves hold, single elements included."""
    leaves = {
        "a.mask": np.tri(4, 5, dtype=bool),
        "b.mask": np.tri(4, 5, dtype=bool),
        "a.count": np.array(3),
        "b.count": np.array(4),
    }

    report = find(tmp_path, leaves, declared=[("a.mask", "b.mask"), ("a.count", "b.count")])

    assert shown(report) == ["identical: b.mask = a.mask | same", "drifted: b.count = a.count | same"]


def test_empty_and_single_element_leaves_are_skipped(tmp_path: Path) -> None:
    """Nothing equals nothing, and one number equals another by chance."""
    empty, single = np.zeros((0, 4), np.float32), np.ones((), np.float32)

    report = find(tmp_path, {"a": empty, "b": empty, "c": single, "d": single}, declared=[("a", "b")])

    assert (report.hits, report.skipped, report.leaves) == ((), 4, 4)


def test_no_leaves_at_all(tmp_path: Path) -> None:
    """An empty checkpoint has no ties."""
    assert find(tmp_path, {}) == FindReport((), 0, 0, 0, 0, 0, 0)


def test_unrelated_leaves_give_no_hits(tmp_path: Path) -> None:
    """Random leaves of one shape have nothing to do with each other."""
    leaves = {f"w{i}": normal(*shape, seed=i) for i, shape in enumerate(SHAPES * 10)}

    report = find(tmp_path, leaves)

    assert report.hits == ()
    assert report.leaves_read_whole == 10
    assert report.bytes_read < sum(leaf.nbytes for leaf in leaves.values())


def test_vectors_that_resemble_each_other_are_not_drifted(tmp_path: Path) -> None:
    """Norms of neighbouring layers correlate without ever having been one."""
    leaf = normal(768)

    assert shown(find(tmp_path, {"a": leaf, "b": leaf + np.float32(0.01) * normal(768, seed=1)})) == []


def test_a_chain_of_kinds_hangs_together(tmp_path: Path) -> None:
    """Each leaf follows from one other: a rounded copy, a copy of that, and a slice of a stack."""
    stack = normal(3, 24, 40)
    narrow = stack[1].astype(BF16)

    report = find(tmp_path, {"stack": stack, "layer": stack[1].copy(), "narrow": narrow, "copy": narrow.copy()})

    assert shown(report) == [
        "identical: copy = narrow | same",
        "slice: layer = stack | [1]",
        "cast: narrow = layer | cast(BF16)",
    ]
    from tiecli.ties import TieSet

    assert {tie.canonical for tie in TieSet(tuple(hit.tie for hit in report.hits))} == {"stack"}


def test_a_leaf_whose_shape_nothing_shares_is_not_read(tmp_path: Path) -> None:
    """Leaves without a counterpart cost nothing."""
    assert find(tmp_path, {"a": normal(24, 40), "b": normal(50, 9, 8)}).bytes_read == 0


def test_progress_tells_every_byte(tmp_path: Path) -> None:
    """What progress was told adds up to what the report says was read."""
    seen: list[int] = []
    with store(tmp_path / "m.safetensors", {"a": normal(300, 700), "b": normal(300, 700)}) as reader:
        report = find_ties(reader, progress=seen.append)

    assert shown(report) == ["identical: b = a | same"]
    assert sum(seen) == report.bytes_read >= 2 * 300 * 700 * 4


def test_many_leaves_of_one_shape(tmp_path: Path) -> None:
    """Among thousands of leaves of one shape, pairs that are near or multiples are still found."""
    leaves: dict[str, Stored] = {f"w{i:04}": normal(8, 16, seed=i) for i in range(2500)}
    leaves["turned"] = np.ascontiguousarray(normal(8, 16, seed=7).T)
    leaves["tripled"] = normal(8, 16, seed=77) * np.float32(-3)
    leaves["near"] = normal(8, 16, seed=777) + np.float32(0.02) * normal(8, 16, seed=9999)

    assert shown(find(tmp_path, leaves)) == [
        "transposed: turned = w0007 | transpose",
        "scaled: tripled = w0077 | scale(-0x1.8p+1)",
        "drifted: near = w0777 | same",
    ]
