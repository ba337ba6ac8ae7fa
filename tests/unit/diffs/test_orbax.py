"""Diffing Orbax items: values count, not how they are stored; ties, other nodes and the other format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.unit.checkpoints.orbax.items import Kept, Leaves, write_item
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Target
from tiecli.checkpoints.zarr.decoding import Decoder
from tiecli.diffs import DiffReport, diff_checkpoints
from tiecli.keypaths import KeyPath
from tiecli.plan import Mode, TieRequest
from tiecli.transforms import SAME, TRANSPOSE
from tiecli.verbs.tie import tie

W = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
B = np.arange(30, dtype=np.float32)

SOURCE: Leaves = {("embed", "embedding"): W, ("head", "kernel"): W.T.copy(), ("copy", 0): W, ("b",): B}
LEAVES: Leaves = {
    ("layers", 0, "w"): W,
    ("digits", "0", "w"): W + 1,
    ("a.b", "w"): Kept(W + 2, compressed=False),
    ("b",): B,
}
NAMES = {"layers[0].w": W, "digits.0.w": W + 1, '"a.b".w': W + 2, "b": B}


def diff(left: Path, right: Path) -> DiffReport:
    with open_reader(left) as before, open_reader(right) as after:
        return diff_checkpoints(before, after)


def changes(report: DiffReport) -> dict[str, str]:
    return {entry.path: entry.change for entry in report.entries}


@pytest.fixture
def item(tmp_path: Path) -> Callable[..., Path]:
    """Writes items, each under another name."""

    def write(leaves: Leaves, **options: Any) -> Path:
        return write_item(tmp_path / f"item{len(list(tmp_path.iterdir()))}", leaves, **options)

    return write


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where anything is decoded."""

    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Decoder, "read_into", refuse)
    monkeypatch.setattr("tiecli.checkpoints.zarr.decoding._decode_small", refuse)


class TestStorage:
    @pytest.mark.parametrize(
        ("other", "zarr", "words"),
        [
            (Kept(W, compressed=False), 2, "orbax (OCDBT, zarr2), none, 1 chunk"),
            (Kept(W, chunks=(7, 30)), 2, "orbax (OCDBT, zarr2), zstd, 6 chunks"),
            (Kept(W, chunks=(40, 30), parts=(20, 10)), 3, "orbax (OCDBT, zarr3), zstd, sharded, 1 chunk"),
        ],
    )
    def test_the_same_values_in_another_way(
        self, item: Callable[..., Path], other: Kept, zarr: int, words: str
    ) -> None:
        """Another codec, other chunks or another version of zarr is one difference, and none of values."""
        report = diff(item({("w",): W}), item({("w",): other}, zarr=zarr))

        (entry,) = report.entries
        assert (entry.change, entry.before, entry.after) == ("recoded", "orbax (OCDBT, zarr2), zstd, 1 chunk", words)
        assert report.same_values
        assert (report.leaves_compared, report.bytes_compared) == (1, W.nbytes)

    def test_another_version_of_zarr(self, item: Callable[..., Path]) -> None:
        """Which version describes the arrays is told, though all stored bytes are equal."""
        (entry,) = diff(item({("w",): W}), item({("w",): W}, zarr=3)).entries

        assert (entry.change, entry.before, entry.after) == ("recoded", "orbax (OCDBT, zarr2)", "orbax (OCDBT, zarr3)")

    def test_another_level_is_no_difference(self, item: Callable[..., Path]) -> None:
        """How well a leaf is compressed is not told, though its stored bytes differ."""
        assert diff(item({("w",): Kept(W, level=1)}), item({("w",): Kept(W, level=15)})).equal

    @pytest.mark.usefixtures("no_decoding")
    def test_equal_stored_bytes_are_not_decoded(self, item: Callable[..., Path]) -> None:
        """Two items that were saved alike are compared as they are stored."""
        leaves: Leaves = {("layers", 0, "w"): W, ("layers", 1, "w"): Kept(W, chunks=(13, 17)), ("b",): B}

        assert diff(item(leaves), item(leaves)).equal

    def test_times_and_file_names_are_no_difference(self, item: Callable[..., Path]) -> None:
        """When a checkpoint was saved, and how its data files are called, says nothing about it."""
        left, right = item({("w",): W}), item({("w",): W}, file="d/elsewhere")
        for path, time in ((left, 1), (right, 2)):
            document = {"item_handlers": "x", "init_timestamp_nsecs": time, "commit_timestamp_nsecs": time}
            (path / "_CHECKPOINT_METADATA").write_text(json.dumps(document))

        assert diff(left, right).equal

    def test_a_value_that_changed(self, item: Callable[..., Path]) -> None:
        """A bit off is found between different chunks."""
        other = W.copy()
        other.view(np.uint32)[39, 29] ^= 1
        report = diff(item({("l", 0): W, ("b",): B}), item({("l", 0): Kept(other, chunks=(11, 30)), ("b",): B}))

        assert changes(report) == {"l[0]": "changed", "": "recoded"}
        assert report.entries[0].comparison is not None
        assert report.entries[0].comparison.first == (39, 29)
        assert not report.same_values

    @pytest.mark.parametrize("other", [Kept(W), Kept(W, level=15), Kept(W, compressed=False), Kept(W, chunks=(9, 9))])
    def test_a_leaf_that_moved(self, item: Callable[..., Path], other: Kept) -> None:
        """The same values under another name are moved, however they are stored there."""
        report = diff(
            item({("params", "w"): W, ("b",): B}), item({("b",): B, ("w",): other, ("x",): Kept(W + 1, chunks=(9, 9))})
        )

        assert {path: change for path, change in changes(report).items() if path} == {"w": "moved", "x": "added"}


class TestTies:
    def tied(self, source: Path, name: str, mode: Mode) -> Path:
        """Ties both copies to the embedding."""
        canonical = KeyPath(("embed", "embedding"))
        requests = [
            TieRequest(canonical, KeyPath(("head", "kernel")), TRANSPOSE),
            TieRequest(canonical, KeyPath(("copy", 0)), SAME),
        ]
        target = source.parent / name
        tie(source, requests, Target(target), mode=mode)
        return target

    @pytest.mark.parametrize("mode", ["omit", "alias"])
    @pytest.mark.parametrize("zarr", [2, 3])
    def test_tied_against_its_source(self, item: Callable[..., Path], mode: Mode, zarr: int) -> None:
        """Each alias is told as tied, whether it left the tree or is a second name, and keeps its value."""
        source = item(SOURCE, zarr=zarr)
        tied = self.tied(source, "tied", mode)
        there, back = diff(source, tied), diff(tied, source)

        assert changes(there) == {"head.kernel": "tied", "copy[0]": "tied"}
        assert changes(back) == {"head.kernel": "untied", "copy[0]": "untied"}
        assert there.same_values
        assert back.same_values
        assert there.entries[0].after == "head.kernel = embed.embedding | transpose"

    def test_left_out_against_second_names(self, item: Callable[..., Path]) -> None:
        """The same ties in two modes differ in what restores, not in values."""
        source = item(SOURCE)
        report = diff(self.tied(source, "omitted", "omit"), self.tied(source, "shared", "alias"))

        assert changes(report) == {"head.kernel": "retied", "copy[0]": "retied"}
        assert (report.entries[0].before, report.entries[0].after) == ("left out", "a second name of the same bytes")
        assert report.same_values

    def test_a_canonical_leaf_that_changed(self, item: Callable[..., Path]) -> None:
        """An alias is held against what its tie gives now."""
        source = item(SOURCE)
        changed = item({**SOURCE, ("embed", "embedding"): W + 1})
        tied = self.tied(source, "tied", "omit")
        report = diff(changed, tied)

        assert changes(report) == {"embed.embedding": "changed", "head.kernel": "tied", "copy[0]": "tied"}
        assert not report.entries[0].keeps_value
        assert report.entries[1].keeps_value


class TestNodes:
    def test_places_without_arrays(self, item: Callable[..., Path]) -> None:
        """A None or an empty container that appears or vanishes is told, and no leaf's value."""
        left = item({("w",): W}, others={("a", 0): "None", ("e",): "Dict"})
        right = item({("w",): W}, others={("e",): "List", ("z",): "None"})
        report = diff(left, right)

        assert [(entry.path, entry.change, entry.before, entry.after) for entry in report.entries] == [
            ("a[0]", "node", "None", None),
            ("e", "node", "Dict", "List"),
            ("z", "node", None, "None"),
        ]
        assert report.same_values

    def test_texts(self, item: Callable[..., Path]) -> None:
        """A text in the tree is a value."""
        left = item({("w",): W}, strings={("name",): "a", ("same",): "x", ("gone",): "g"})
        right = item({("w",): W}, strings={("name",): "b", ("same",): "x", ("new",): "n"})
        report = diff(left, right)

        assert [(entry.path, entry.change, entry.before, entry.after) for entry in report.entries] == [
            ("name", "changed", '"a"', '"b"'),
            ("gone", "removed", '"g"', None),
            ("new", "added", None, '"n"'),
        ]
        assert not any(entry.keeps_value for entry in report.entries)

    def test_a_leaf_that_became_a_none(self, item: Callable[..., Path]) -> None:
        """The leaf is told of, once."""
        report = diff(item({("w",): W, ("b",): B}), item({("w",): W}, others={("b",): "None"}))

        assert changes(report) == {"b": "removed"}


class TestFormats:
    def file(self, path: Path, arrays: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
        save_file(arrays, path / "model.safetensors", metadata)
        return path / "model.safetensors"

    def test_leaves_meet_under_their_exact_text_form(self, item: Callable[..., Path], tmp_path: Path) -> None:
        """Indices, digits and dots in keys stay apart, and every value is the same."""
        report = diff(item(LEAVES), self.file(tmp_path, NAMES))

        (entry,) = report.entries
        assert (entry.change, entry.before, entry.after) == (
            "recoded",
            "orbax (OCDBT, zarr2), zstd, 3 chunks",
            "safetensors",
        )
        assert report.same_values
        assert report.leaves_compared == 4

    def test_a_changed_leaf_goes_by_its_name_in_the_file(self, item: Callable[..., Path], tmp_path: Path) -> None:
        """Paths in the report are those of safetensors, from either side."""
        other = {**NAMES, '"a.b".w': W, "layers[0].w": W.astype(np.float16), "new": B + 1}
        left, right = item(LEAVES), self.file(tmp_path, other)

        assert changes(diff(left, right)) == {
            "layers[0].w": "retyped", '"a.b".w': "changed", "new": "added", "": "recoded"
        }  # fmt: skip
        assert changes(diff(right, left))["new"] == "removed"

    def test_moved_between_formats(self, item: Callable[..., Path], tmp_path: Path) -> None:
        """A compressed leaf is found again by its values."""
        report = diff(item({("params", 0, "w"): W, ("b",): B}), self.file(tmp_path, {"w": W, "b": B}))

        assert changes(report) == {"w": "moved", "": "recoded"}
        assert report.entries[0].before == "params[0].w"

    def test_nodes_that_a_file_cannot_hold_are_told(self, item: Callable[..., Path], tmp_path: Path) -> None:
        """A plain file has neither None nor text."""
        left = item({("b",): B}, others={("n",): "None"}, strings={("s",): "x"})
        report = diff(left, self.file(tmp_path, {"b": B}))

        assert changes(report) == {"n": "node", "s": "removed", "": "recoded"}
        assert not report.same_values

    def test_metadata_is_compared_by_value(self, item: Callable[..., Path], tmp_path: Path) -> None:
        """JSON in a text is what it stands for, however it is written."""
        left = item({("b",): B}, custom={"note": "x", "rates": [1, 2.5], "old": 1})
        report = diff(left, self.file(tmp_path, {"b": B}, {"note": "x", "rates": "[1,2.5]", "old": "2"}))

        assert changes(report) == {"old": "metadata", "": "recoded"}
