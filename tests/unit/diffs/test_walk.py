"""Diffing: every kind of difference, what counts as equal, and how little is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tiecli.checkpoints import open_reader
from tiecli.diffs import DiffEntry, DiffReport, diff_checkpoints
from tiecli.errors import SourceChangedError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec, find_dtype
from tiecli.manifest import KEY, Manifest, TieRecord
from tiecli.ties import Tie
from tiecli.transforms import Transform

Arrays = Mapping[str, NDArray[Any]]

W = np.arange(12, dtype=np.float32).reshape(3, 4)
B = np.array([1.0, 2.0, 3.0], dtype=np.float32)


def diff(left: Path, right: Path, *, values: bool = False) -> DiffReport:
    with open_reader(left) as before, open_reader(right) as after:
        return diff_checkpoints(before, after, values=values)


def changes(report: DiffReport) -> dict[str, str]:
    return {entry.path: entry.change for entry in report.entries}


def only(report: DiffReport) -> DiffEntry:
    (entry,) = report.entries
    return entry


class Folder:
    """Writes small checkpoints into one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, name: str, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> Path:
        path = self.root / f"{name}.safetensors"
        # safetensors writes the memory as it lies, transposed views included.
        save_file(
            {leaf: np.array(array, order="C") for leaf, array in arrays.items()}, path, dict(metadata or {}) or None
        )
        return path

    def tied(self, name: str, arrays: Arrays, *ties: tuple[str, str, str]) -> Path:
        """Writes a file whose manifest says `(alias, canonical, transform)`, without the aliases."""
        records = []
        for alias, canonical, transform in ties:
            tie = Tie(KeyPath.from_name(alias), (KeyPath.from_name(canonical),), Transform.parse(transform))
            stored = arrays[canonical]
            dtype = find_dtype(stored.dtype.name)
            assert dtype is not None
            spec = LeafSpec(stored.shape, dtype)
            digest = "xxh3_128:" + "0" * 32
            records.append(TieRecord(tie, tie.transform.spec((spec,)), (spec,), digest, (digest,)))
        return self.file(name, arrays, {KEY: Manifest(tuple(records)).to_json()})

    def directory(self, name: str, shards: Mapping[str, Arrays], config: object = None) -> Path:
        directory = self.root / name
        directory.mkdir()
        for shard, arrays in shards.items():
            self.file(f"{name}/{shard.removesuffix('.safetensors')}", arrays)
        if len(shards) > 1:
            weight_map = {leaf: shard for shard, arrays in shards.items() for leaf in arrays}
            size = sum(array.nbytes for arrays in shards.values() for array in arrays.values())
            index = {"metadata": {"total_size": size}, "weight_map": weight_map}
            (directory / "model.safetensors.index.json").write_text(json.dumps(index))
        if config is not None:
            (directory / "config.json").write_text(json.dumps(config))
        return directory


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class TestLeaves:
    def test_equal_files_of_different_names(self, folder: Folder) -> None:
        """Two copies are equal whatever they are called, and all their leaves were compared."""
        report = diff(folder.file("a", {"w": W, "b": B}), folder.file("b", {"w": W, "b": B}))

        assert report.equal
        assert report.same_values
        assert (report.leaves_compared, report.bytes_compared) == (2, W.nbytes + B.nbytes)

    def test_added_and_removed(self, folder: Folder) -> None:
        """A leaf that one side lacks is told with its shape and dtype."""
        report = diff(folder.file("a", {"w": W, "x": B}), folder.file("b", {"w": W, "y": W}))

        assert changes(report) == {"x": "removed", "y": "added"}
        removed, added = report.entries
        assert (str(removed.left), removed.right) == ("F32 3", None)
        assert (added.left, str(added.right)) == (None, "F32 3×4")
        assert not report.same_values

    def test_reshaped_and_retyped(self, folder: Folder) -> None:
        """Another shape or dtype is told from the headers alone."""
        report = diff(folder.file("a", {"w": W, "b": B}), folder.file("b", {"w": W.T, "b": B.astype("f2")}))

        assert changes(report) == {"w": "reshaped", "b": "retyped"}
        assert report.leaves_compared == 0

    def test_changed(self, folder: Folder) -> None:
        """A changed leaf is told with its first difference, and not measured."""
        other = W.copy()
        other[1, 2] += 1
        other[2, 0] += 3
        entry = only(diff(folder.file("a", {"w": W}), folder.file("b", {"w": other})))

        assert entry.change == "changed"
        assert entry.comparison is not None
        assert entry.comparison.first == (1, 2)
        assert not entry.comparison.complete

    def test_changed_and_measured(self, folder: Folder) -> None:
        """With `values`, a changed leaf is measured whole."""
        other = W.copy()
        other[1, 2] += 1
        other[2, 0] += 3
        entry = only(diff(folder.file("a", {"w": W}), folder.file("b", {"w": other}), values=True))

        comparison = entry.comparison
        assert comparison is not None
        assert (comparison.differing, comparison.max_abs, comparison.worst) == (2, 3.0, (2, 0))
        expected = float(np.sum(W * other) / np.linalg.norm(W) / np.linalg.norm(other))
        assert comparison.cosine == pytest.approx(expected)

    def test_bits_are_compared_not_numbers(self, folder: Folder) -> None:
        """A NaN equals itself; the two zeros differ."""
        left = {"nan": np.array([np.nan]), "zero": np.array([0.0])}
        right = {"nan": np.array([np.nan]), "zero": np.array([-0.0])}

        assert changes(diff(folder.file("a", left), folder.file("b", right))) == {"zero": "changed"}

    @pytest.mark.parametrize("array", [np.zeros((0, 4), np.float32), np.array(7, np.int64), np.array([True, False])])
    def test_odd_leaves(self, folder: Folder, array: NDArray[Any]) -> None:
        """Empty leaves, scalars and booleans compare like any other."""
        assert diff(folder.file("a", {"x": array}), folder.file("b", {"x": array}), values=True).equal

    def test_no_leaves(self, folder: Folder) -> None:
        """Two checkpoints without leaves are equal."""
        assert diff(folder.file("a", {}), folder.file("b", {})).equal


class TestMoved:
    def test_another_name(self, folder: Folder) -> None:
        """The same bytes under another name are moved, not removed and added."""
        entry = only(diff(folder.file("a", {"old": W, "b": B}), folder.file("b", {"new": W, "b": B})))

        assert (entry.change, entry.path, entry.before, entry.after) == ("moved", "new", "old", "new")
        assert not entry.keeps_value

    def test_equal_leaves_go_by_their_endings(self, folder: Folder) -> None:
        """Of several equal leaves, those whose names end alike belong together."""
        ones = np.ones(4, np.float32)
        left = folder.file("a", {"z.ln_1": ones, "y.ln_2": ones})
        right = folder.file("b", {"h.ln_2": ones, "i.ln_1": ones})

        found = {entry.before: entry.after for entry in diff(left, right).entries}
        assert found == {"z.ln_1": "i.ln_1", "y.ln_2": "h.ln_2"}

    def test_equal_leaves_of_unequal_number(self, folder: Folder) -> None:
        """Where one side has one copy more, that copy is added."""
        report = diff(folder.file("a", {"x": B}), folder.file("b", {"y": B, "z": B}))

        assert sorted(changes(report).values()) == ["added", "moved"]

    def test_leaves_that_differ_late(self, folder: Folder) -> None:
        """Leaves that only begin alike are no match."""
        left, right = np.zeros(100_000, np.float32), np.zeros(100_000, np.float32)
        right[-1] = 1
        report = diff(folder.file("a", {"x": left}), folder.file("b", {"y": right}))

        assert changes(report) == {"x": "removed", "y": "added"}

    def test_another_file(self, folder: Folder) -> None:
        """A leaf in another shard of the same set is moved; its value is the same."""
        left = folder.directory("a", {"s1.safetensors": {"w": W, "b": B}, "s2.safetensors": {"c": B}})
        right = folder.directory("b", {"s1.safetensors": {"w": W}, "s2.safetensors": {"b": B, "c": B}})
        report = diff(left, right)

        entry = only(report)
        assert (entry.change, entry.path) == ("moved", "b")
        assert (entry.before, entry.after) == ("s1.safetensors", "s2.safetensors")
        assert report.same_values
        assert not report.equal

    def test_other_files(self, folder: Folder) -> None:
        """Leaves spread over another set of files are one difference, not one a leaf."""
        left = folder.directory("a", {"s1.safetensors": {"w": W}, "s2.safetensors": {"b": B}})
        entry = only(diff(left, folder.file("b", {"w": W, "b": B})))

        assert (entry.change, entry.before, entry.after) == ("resharded", "2 files", "1 file")
        assert entry.keeps_value


class TestTies:
    def test_tied(self, folder: Folder) -> None:
        """A leaf that became an alias of equal value is told as tied, and its value kept."""
        report = diff(folder.file("a", {"w": W, "x": W}), folder.tied("b", {"w": W}, ("x", "w", "same")))

        entry = only(report)
        assert (entry.path, entry.change, entry.before, entry.after) == ("x", "tied", None, "x = w")
        assert entry.comparison is not None
        assert entry.comparison.equal
        assert report.same_values
        assert not report.equal

    def test_untied_through_a_transform(self, folder: Folder) -> None:
        """An alias that is stored again is compared with what the transform makes."""
        left = folder.tied("a", {"w": W}, ("x", "w", "transpose"))
        report = diff(left, folder.file("b", {"w": W, "x": W.T}))

        assert changes(report) == {"x": "untied"}
        assert report.same_values

    def test_tied_to_other_values(self, folder: Folder) -> None:
        """An alias whose value is not what it was is told, and measured if asked for."""
        left = folder.file("a", {"w": W, "x": W.T + 1})
        report = diff(left, folder.tied("b", {"w": W}, ("x", "w", "transpose")), values=True)

        entry = only(report)
        assert entry.change == "tied"
        assert entry.comparison is not None
        assert entry.comparison.max_abs == 1.0
        assert not report.same_values

    def test_tied_to_another_shape(self, folder: Folder) -> None:
        """An alias that cannot be what was stored is tied, without a comparison."""
        entry = only(diff(folder.file("a", {"w": W, "x": B}), folder.tied("b", {"w": W}, ("x", "w", "same"))))

        assert (entry.change, entry.comparison) == ("tied", None)
        assert not entry.keeps_value

    def test_the_same_tie_on_both_sides(self, folder: Folder) -> None:
        """Ties that are stated alike are no difference; what they follow may be."""
        tie = ("x", "w", "transpose")

        assert diff(folder.tied("a", {"w": W}, tie), folder.tied("b", {"w": W}, tie)).equal
        assert changes(diff(folder.tied("c", {"w": W}, tie), folder.tied("d", {"w": W + 1}, tie))) == {"w": "changed"}

    @pytest.mark.parametrize(("transform", "kept"), [("same", True), ("flip(0)", False)])
    def test_another_tie(self, folder: Folder, transform: str, kept: bool) -> None:
        """An alias that follows from another leaf is retied, and compared where one tie is plain."""
        left = folder.tied("a", {"w": W, "v": W}, ("x", "w", transform))
        entry = only(diff(left, folder.tied("b", {"w": W, "v": W}, ("x", "v", "same"))))

        assert (entry.change, entry.after) == ("retied", "x = v")
        assert entry.keeps_value == kept

    def test_another_tie_when_neither_is_plain(self, folder: Folder) -> None:
        """Two aliases of which neither is a stored leaf are not compared."""
        left = folder.tied("a", {"w": W}, ("x", "w", "transpose"))
        entry = only(diff(left, folder.tied("b", {"w": W}, ("x", "w", "flip(0)"))))

        assert (entry.change, entry.comparison) == ("retied", None)

    def test_an_alias_that_one_side_lacks(self, folder: Folder) -> None:
        """An alias that the other side does not know at all is removed or added, with its tie."""
        tied, plain = folder.tied("a", {"w": W}, ("x", "w", "same")), folder.file("b", {"w": W})

        assert (only(diff(tied, plain)).change, only(diff(tied, plain)).before) == ("removed", "x = w")
        assert (only(diff(plain, tied)).change, only(diff(plain, tied)).after) == ("added", "x = w")

    def test_sides_that_store_each_other(self, folder: Folder) -> None:
        """One side keeps `w`, the other `x`: one is tied, one untied, and no value is lost."""
        left = folder.tied("a", {"w": W}, ("x", "w", "transpose"))
        report = diff(left, folder.tied("b", {"x": W.T}, ("w", "x", "transpose")))

        assert changes(report) == {"w": "tied", "x": "untied"}
        assert report.same_values

    def test_a_tie_that_metadata_states(self, folder: Folder) -> None:
        """The convention of safetensors' own writer counts as a tie, not as metadata."""
        left, right = folder.file("a", {"w": W, "x": W}), folder.file("b", {"w": W}, {"x": "w"})

        assert changes(diff(left, right)) == {"x": "tied"}


class TestTexts:
    def test_metadata(self, folder: Folder) -> None:
        """Keys of the metadata that came, went or changed are told with their texts."""
        left = folder.file("a", {"w": W}, {"format": "np", "x": "1", "same": "s"})
        report = diff(left, folder.file("b", {"w": W}, {"format": "pt", "y": "2", "same": "s"}))

        assert {(e.path, e.before, e.after) for e in report.entries} == {
            ("format", "np", "pt"),
            ("x", "1", None),
            ("y", None, "2"),
        }
        assert report.same_values

    def test_config(self, folder: Folder) -> None:
        """A changed key of `config.json` is told, and one that was only written otherwise is not."""
        left = folder.directory("a", {"model.safetensors": {"w": W}}, {"hidden": 4, "n": 1})
        right = folder.directory("b", {"model.safetensors": {"w": W}}, {"n": 1, "hidden": 8})

        entry = only(diff(left, right))
        assert (entry.path, entry.before, entry.after) == ("config.json:hidden", "4", "8")

    def test_a_lost_config(self, folder: Folder) -> None:
        """A directory that lost its `config.json` is different; a lone file never had one."""
        left = folder.directory("a", {"model.safetensors": {"w": W}}, {"hidden": 4})
        right = folder.directory("b", {"model.safetensors": {"w": W}})

        assert changes(diff(left, right)) == {"config.json": "metadata"}
        assert diff(left, folder.file("c", {"w": W})).equal

    def test_total_size_is_no_difference_of_its_own(self, folder: Folder) -> None:
        """The total in an index says nothing that the leaves do not say."""
        left = folder.directory("a", {"s1.safetensors": {"w": W, "x": B}, "s2.safetensors": {"b": B}})
        right = folder.directory("b", {"s1.safetensors": {"w": W}, "s2.safetensors": {"b": B}})

        assert changes(diff(left, right)) == {"x": "removed"}


class TestReading:
    def test_a_file_against_itself_is_not_read(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leaves that lie at the same place of the same file are equal without a look, hard links included."""
        path = folder.file("a", {"w": W, "b": B})
        linked = folder.root / "linked.safetensors"
        linked.hardlink_to(path)
        monkeypatch.setattr("tiecli.diffs.walk.compare_leaf", None)

        assert diff(path, linked).equal

    @pytest.mark.parametrize("values", [False, True])
    def test_progress_adds_up_to_the_left_side(self, folder: Folder, values: bool) -> None:
        """Whatever became of them, each leaf of the left side is dealt with once."""
        left = {"same": W, "changed": np.zeros(300_000), "gone": B, "old": W + 1, "typed": B, "tied": W}
        right = {"same": W, "changed": np.ones(300_000), "new": W + 1, "typed": B.astype("f2"), "w": W}
        before, after = folder.file("a", left), folder.tied("b", right, ("tied", "w", "same"))
        dealt: list[int] = []

        with open_reader(before) as one, open_reader(after) as other:
            diff_checkpoints(one, other, values=values, progress=dealt.append)

        assert sum(dealt) == sum(array.nbytes for array in left.values())
        assert min(dealt) >= 0

    def test_a_file_that_changes_meanwhile(self, folder: Folder) -> None:
        """An answer about a file that somebody is writing to is no answer."""
        before, after = folder.file("a", {"w": W}), folder.file("b", {"w": W})

        def touch(_: int) -> None:
            with after.open("ab") as file:
                file.write(b"more")

        with (
            open_reader(before) as one,
            open_reader(after) as other,
            pytest.raises(SourceChangedError, match=r"b\.safetensors"),
        ):
            diff_checkpoints(one, other, progress=touch)
