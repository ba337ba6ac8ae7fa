"""Finding in Orbax items: metadata first, then stored bytes, then decoded values, no more of each than is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.checkpoints.orbax.items import Kept, Leaves, SameBytes, write_item
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Target
from tiecli.checkpoints.zarr.decoding import Decoder
from tiecli.detect import FindReport, find_ties
from tiecli.keypaths import KeyPath
from tiecli.plan import TieRequest
from tiecli.transforms import TRANSPOSE
from tiecli.verbs.tie import tie

# Large enough not to be read whole for its samples.
SHAPE = (300, 200)


class Decoded:
    """How many bytes of each leaf were decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nbytes: dict[str, int] = {}
        read_into = Decoder.read_into

        def count(decoder: Decoder, buffer: memoryview) -> None:
            read_into(decoder, buffer)
            leaf = decoder.label.partition("/")[0]
            self.nbytes[leaf] = self.nbytes.get(leaf, 0) + len(buffer)

        monkeypatch.setattr(Decoder, "read_into", count)
        # Small parts are decoded in another way.
        monkeypatch.setattr("tiecli.checkpoints.zarr.decoding._SMALL_NBYTES", 0)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """Counts what is decoded."""
    return Decoded(monkeypatch)


def find(path: Path, leaves: Leaves, **options: Any) -> FindReport:
    """Writes an item and searches it."""
    with open_reader(write_item(path / "item", leaves, **options)) as reader:
        return find_ties(reader)


def hits(report: FindReport) -> list[tuple[str, str, str]]:
    """Gives kind, alias and where it follows from."""
    return [
        (hit.kind, hit.alias.spelling, hit.canonical.spelling + f" | {hit.transform}" * (not hit.transform.is_same))
        for hit in report.hits
    ]


def normal(seed: int, shape: tuple[int, ...] = SHAPE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("zarr", [2, 3])
def test_equal_stored_bytes_are_never_decoded(tmp_path: Path, decoded: Decoded, zarr: int) -> None:
    """Of leaves of equal stored bytes the first is sampled, in case others follow from it; the rest is not decoded."""
    leaves: Leaves = {("a",): normal(0), ("b",): normal(0), ("c",): Kept(normal(0), chunks=None)}
    report = find(tmp_path, leaves, zarr=zarr)

    assert hits(report) == [("identical", "b", "a"), ("identical", "c", "a")]
    assert decoded.nbytes.keys() == {"a"}
    assert decoded.nbytes["a"] <= normal(0).nbytes
    assert report.leaves_read_whole == 3


@pytest.mark.parametrize(
    "other",
    [
        Kept(normal(0), chunks=(100, 100)),
        Kept(normal(0), chunks=(299, 150)),
        Kept(normal(0), compressed=False),
        Kept(normal(0), level=12),
    ],
    ids=["chunks", "ragged chunks", "raw", "level"],
)
@pytest.mark.parametrize("first", [Kept(normal(0)), Kept(normal(0), compressed=False)], ids=["zstd", "plain"])
def test_equal_values_of_other_stored_bytes(tmp_path: Path, first: Kept, other: Kept) -> None:
    """However the two are stored, equal values are found equal."""
    assert hits(find(tmp_path, {("x",): first, ("other",): normal(1), ("y",): other})) == [("identical", "y", "x")]


def test_shards_and_single_parts(tmp_path: Path) -> None:
    """A leaf in shards of several parts is found equal to one in a single part."""
    leaves: Leaves = {("x",): normal(0), ("y",): Kept(normal(0), chunks=(150, 200), parts=(75, 50))}

    assert hits(find(tmp_path, leaves, zarr=3)) == [("identical", "y", "x")]


def test_a_bit_off_is_no_twin(tmp_path: Path) -> None:
    """Leaves whose stored bytes are as long and begin alike are compared whole."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 4 * 300 * 200, dtype=np.uint8).view(np.float32).reshape(SHAPE)
    other = noise.copy()
    other.view(np.uint32)[299, 199] ^= 1
    third = noise.copy()
    third.view(np.uint32)[200, 100] ^= 1
    report = find(tmp_path, {("x",): noise, ("y",): other, ("z",): third, ("w",): noise})

    assert [hit[:2] for hit in hits(report)] == [("identical", "w"), ("drifted", "y"), ("drifted", "z")]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("zarr", [2, 3])
def test_the_same_stored_bytes_are_tied_already(tmp_path: Path, decoded: Decoded, zarr: int, turned: bool) -> None:
    """A second name of the same bytes is counted, neither reported nor read; what follows from it is found."""
    same = SameBytes(("embed", "embedding"), turned=turned)
    leaves: Leaves = {("embed", "embedding"): normal(0), ("head",): same, ("copy",): Kept(normal(0), chunks=(100, 200))}
    report = find(tmp_path, leaves, zarr=zarr)

    assert hits(report) == [("identical", "copy", "embed.embedding")]
    assert report.shared_leaves == 1
    assert report.skipped == 0
    assert "head" not in decoded.nbytes


def test_the_same_stored_bytes_as_others_are_told_once(tmp_path: Path) -> None:
    """Nothing is found where all that is equal is stored once."""
    report = find(tmp_path, {("a",): normal(0), ("b",): SameBytes(("a",)), ("c",): SameBytes(("a",), turned=True)})

    assert (report.hits, report.shared_leaves, report.bytes_read) == ((), 2, 0)


def test_the_declared_leaf_stands_for_the_shared_bytes(tmp_path: Path) -> None:
    """Of several names of the same bytes, the one that ties are stated for is the canonical leaf."""
    leaves: Leaves = {("a",): normal(0), ("b",): SameBytes(("a",)), ("c",): Kept(normal(0), level=12)}
    with open_reader(write_item(tmp_path / "item", leaves)) as reader:
        report = find_ties(reader, declared=[(KeyPath(("b",)), KeyPath(("a",)))])

    assert hits(report) == [("identical", "c", "b")]


@pytest.mark.parametrize("side", [8, 300])
def test_ties_of_mode_alias_are_tied_already(tmp_path: Path, side: int) -> None:
    """What `tie` made a second name is not proposed again, be it so small that its bytes lie in the database."""
    values = normal(0, (side, 9))
    source = write_item(tmp_path / "item", {("b",): values, ("a",): values, ("c",): values.T.copy()})
    tie(source, [TieRequest("a", "b"), TieRequest("a", "c", TRANSPOSE)], Target(tmp_path / "tied"), mode="alias")
    with open_reader(tmp_path / "tied") as reader:
        report = find_ties(reader)

    assert (report.hits, report.shared_leaves, report.skipped) == ((), 2, 0)


def test_every_kind_is_found_in_compressed_leaves(tmp_path: Path) -> None:
    """Transposed, cast, scaled, a slice, a prefix, one bit off: as in plain leaves."""
    base, stack = normal(0), normal(2, (3, 160, 120))
    drifted = base.copy()
    drifted.view(np.uint32)[7, 9] ^= 1
    leaves: Leaves = {
        ("base",): base,
        ("list", 0): base.T.copy(),
        ("list", 1): base.astype(np.float16),
        ("scaled",): base * np.float32(8),
        ("longer",): np.concatenate([normal(3, (400, 90)), normal(4, (30, 90))]),
        ("shorter",): normal(3, (400, 90)),
        ("stack",): stack,
        ("layer",): stack[1].copy(),
        ("one_bit",): drifted,
    }

    assert hits(find(tmp_path, leaves)) == [
        ("transposed", "list[0]", "base | transpose"),
        ("slice", "layer", "stack | [1]"),
        ("cast", "list[1]", "base | cast(F16)"),
        ("prefix", "shorter", "longer | [:400]"),
        ("scaled", "scaled", "base | scale(0x1p+3)"),
        ("drifted", "one_bit", "base"),
    ]


def test_constant_and_sparse_twins(tmp_path: Path, decoded: Decoded) -> None:
    """Equal stored bytes of one value throughout are no tie; of zeros with one exception they are, decoded once."""
    sparse = np.zeros(SHAPE, np.float32)
    sparse[250, 150] = 1
    ones, small = np.ones(SHAPE, np.float32), np.ones(8, np.float32)
    leaves: Leaves = {("a",): ones, ("b",): ones, ("c",): small, ("d",): small, ("e",): sparse, ("f",): sparse}
    report = find(tmp_path, leaves)

    assert hits(report) == [("identical", "f", "e")]
    assert report.constant_leaves == 4
    assert decoded.nbytes.keys() == {"a", "c", "e"}


def test_leaves_that_can_have_no_partner_are_not_decoded(tmp_path: Path, decoded: Decoded) -> None:
    """A leaf is looked at only if the shape of another lets one follow from the other."""
    report = find(tmp_path, {("a",): normal(0, (300, 200)), ("b",): normal(1, (7, 11, 13)), ("c",): normal(2, (5000,))})

    assert report.hits == ()
    assert decoded.nbytes == {}
    assert report.bytes_read == 0


def test_samples_of_compressed_leaves_lie_near_their_start(tmp_path: Path, decoded: Decoded) -> None:
    """Unrelated leaves are told apart by a small part of each, however they are turned."""
    shape = (4096, 600)
    report = find(tmp_path, {("a",): normal(0, shape), ("b",): normal(1, shape), ("c",): normal(2, shape[::-1])})

    assert report.hits == ()
    assert decoded.nbytes.keys() == {"a", "b", "c"}
    assert max(decoded.nbytes.values()) < normal(0, shape).nbytes / 4
    assert sum(decoded.nbytes.values()) <= report.bytes_read


def test_plain_leaves_are_sampled_all_over(tmp_path: Path) -> None:
    """Where no leaf is compressed, a few pages of each are read, as of a safetensors file."""
    leaves: Leaves = {("a",): Kept(normal(0), compressed=False), ("b",): Kept(normal(1), compressed=False)}
    report = find(tmp_path, leaves)

    assert report.bytes_read < normal(0).nbytes / 10
    assert report.leaves_read_whole == 0
