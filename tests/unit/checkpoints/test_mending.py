"""Mending a safetensors checkpoint: what a fix changes changes everywhere, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.lint.building import draw, write_file, write_json, write_llama, write_raw, write_shards
from tests.unit.checkpoints.mendings import edit_at, fix, mend_at, read_leaves, read_metadata, refuse_at
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    IndexLeaf,
    RebuildIndex,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
)

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def make_shards(directory: Path, **options: object) -> Path:
    """Two shards of four leaves, with an index."""
    leaves = {
        FIRST: {"a.weight": ("F32", (3, 5)), "b.weight": ("BF16", (4,))},
        SECOND: {"c.weight": ("F32", (2,)), "d.mask": ("U8", (3,))},
    }
    return write_shards(directory / "model", leaves, **options)  # type: ignore[arg-type]


def read_index(directory: Path) -> dict[str, dict[str, object]]:
    """The index."""
    document: dict[str, dict[str, object]] = json.loads((directory / INDEX).read_text())
    return document


def test_a_member_of_a_text_changes_and_nothing_else(tmp_path: Path) -> None:
    """The config changes in one member; permissions, spacing, and all other files stay."""
    directory = write_llama(tmp_path / "model")
    (directory / "config.json").write_text('{"x":  1.50, "tie_word_embeddings" :false}\n\n')
    (directory / "config.json").chmod(0o640)
    before = take_stock(directory)

    edit_at(directory, SetMember("config.json", (), "tie_word_embeddings", "true"), DropMember("config.json", (), "y"))

    after = take_stock(directory)
    text, mode = before.pop("config.json")  # type: ignore[misc]
    assert after.pop("config.json") == (text.replace(b":false", b":true"), mode)
    assert after == before


def test_metadata_changes_and_no_array_byte_does(tmp_path: Path) -> None:
    """A header gets a string; every leaf reads as before, and so do the file's permissions."""
    file = write_file(tmp_path / "m.safetensors", {"a": ("F32", (7,)), "b": ("I8", (3,))}, {"x": "1"})
    file.chmod(0o600)
    leaves = read_leaves(file)

    edit_at(file, SetMetadata(file.name, "format", "pt"), SetMetadata(file.name, "x", None))

    assert read_metadata(file) == {"format": "pt"}
    assert read_leaves(file) == leaves
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_last_string_takes_the_metadata_along(tmp_path: Path) -> None:
    """An empty `__metadata__` breaks readers, so none is left."""
    file = write_file(tmp_path / "m.safetensors", {"a": ("F32", (7,))}, {"x": "1"})

    edit_at(file, SetMetadata(file.name, "x", None))

    assert b"__metadata__" not in file.read_bytes()


@pytest.mark.parametrize("kind", ["trailing", "hole", "overlap", "same-range", "misaligned", "odd-header"])
def test_a_file_is_written_anew_whatever_lies_between_its_tensors(tmp_path: Path, kind: str) -> None:
    """Trailing bytes and holes go, shared bytes are copied out, and every tensor keeps its bytes and lies aligned."""
    data = draw("data", (16,), "U8") * 2
    places = {
        "trailing": ([0, 8], [8, 16]),
        "hole": ([3, 11], [14, 22]),
        "overlap": ([0, 8], [4, 12]),
        "same-range": ([0, 8], [0, 8]),
        "misaligned": ([3, 11], [11, 19]),
        "odd-header": ([0, 8], [8, 16]),
    }[kind]
    header: dict[str, object] = {"mask": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
    header = header if kind == "misaligned" else {}
    for name, place in zip("ab", places, strict=True):
        header[name] = {"dtype": "F32", "shape": [2], "data_offsets": place, "note": name}
    raw = json.dumps(header).encode() + b" " * (3 if kind == "odd-header" else 0)
    file = tmp_path / "m.safetensors"
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + data[: {"odd-header": 16, "misaligned": 19}.get(kind)])

    edit_at(file, Repack(file.name))

    leaves = read_leaves(file)
    assert {name: leaves[name][2] for name in "ab"} == {
        name: data[begin:end] for name, (begin, end) in zip("ab", places, strict=True)
    }
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    infos = json.loads(raw[8:start])
    assert all((start + infos[name]["data_offsets"][0]) % 4 == 0 for name in "ab")
    assert infos["a"]["note"] == "a"
    assert len(raw) == start + sum(len(bytes_) for _, _, bytes_ in leaves.values())


def test_a_placeholder_without_bytes_goes(tmp_path: Path) -> None:
    """A tensor of no known dtype that stores nothing can be dropped, from the index as well."""
    directory = make_shards(tmp_path)
    header = {
        "a.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b.weight": {"dtype": "", "shape": [0], "data_offsets": [8, 8]},
    }
    write_raw(directory / FIRST, header, b"12345678")

    edit_at(directory, DropLeaf("b.weight"))

    assert read_leaves(directory / FIRST) == {"a.weight": ("F32", [2], b"12345678")}
    assert "b.weight" not in read_index(directory)["weight_map"]


@pytest.mark.parametrize("kind", ["truncated", "size", "repeated"])
def test_a_file_that_lacks_bytes_is_not_written_anew(tmp_path: Path, kind: str) -> None:
    """What is not known or not there cannot be mended; the file stays as it is."""
    entry = '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    header = f'{{"a": {entry}, "a": {entry}}}' if kind == "repeated" else f'{{"a": {entry}}}'
    header = header.replace("[2]", "[3]") if kind == "size" else header
    file = write_raw(tmp_path / "m.safetensors", header.encode(), b"1234" if kind == "truncated" else b"12345678")
    before = take_stock(tmp_path)

    reason = refuse_at(file, Repack(file.name))

    assert "cannot be written anew" in reason
    assert take_stock(tmp_path) == before


def test_values_that_are_no_strings_are_mended_together(tmp_path: Path) -> None:
    """One of two odd values alone would leave a file that no reader opens."""
    file = write_raw(tmp_path / "m.safetensors", {"__metadata__": {"x": 1, "y": [2]}}, b"")

    assert "`y`" in refuse_at(file, SetMetadata(file.name, "x", "1"))
    edit_at(file, SetMetadata(file.name, "x", "1"), SetMetadata(file.name, "y", "[2]"))

    assert read_metadata(file) == {"x": "1", "y": "[2]"}


def test_a_leaf_is_renamed_in_header_index_and_metadata(tmp_path: Path) -> None:
    """Rows and aliases follow; bytes stay, and so does the other shard, to the byte."""
    directory = make_shards(tmp_path, metadata={"format": "pt", "alias": "c.weight"})
    other = (directory / FIRST).read_bytes()
    index = (directory / INDEX).read_text()
    leaves = read_leaves(directory / SECOND)

    edit_at(directory, RenameLeaf("d.mask", "d.other"))
    assert (directory / FIRST).read_bytes() == other
    assert (directory / INDEX).read_text() == index.replace("d.mask", "d.other")
    edit_at(directory, RenameLeaf("c.weight", "z"))

    assert read_leaves(directory / SECOND) == {"z": leaves["c.weight"], "d.other": leaves["d.mask"]}
    # Each file that tells of the alias is told of the new name.
    assert read_metadata(directory / FIRST) == read_metadata(directory / SECOND) == {"format": "pt", "alias": "z"}
    assert list(read_index(directory)["weight_map"]) == ["a.weight", "b.weight", "d.other", "z"]


def test_leaves_exchange_their_names(tmp_path: Path) -> None:
    """All renames of a round happen at once."""
    directory = make_shards(tmp_path)
    before = read_leaves(directory / FIRST), read_leaves(directory / SECOND)

    edit_at(directory, RenameLeaf("a.weight", "c.weight"), RenameLeaf("c.weight", "a.weight"))

    assert read_leaves(directory / FIRST)["c.weight"] == before[0]["a.weight"]
    assert read_leaves(directory / SECOND)["a.weight"] == before[1]["c.weight"]
    rows = read_index(directory)["weight_map"]
    assert (rows["a.weight"], rows["c.weight"]) == (SECOND, FIRST)


def test_an_alias_and_its_leaf_change_places(tmp_path: Path) -> None:
    """A leaf that gets the name of its alias has its own old name as alias; a stale row gives way."""
    directory = make_shards(
        tmp_path, metadata={"format": "pt", "wte": "d.mask", "x": "d.mask"}, weight_map={"wte": FIRST, "d.mask": SECOND}
    )

    edit_at(directory, RenameLeaf("d.mask", "wte"))

    assert read_metadata(directory / SECOND) == {"format": "pt", "d.mask": "wte", "x": "wte"}
    assert read_index(directory)["weight_map"] == {"wte": SECOND}


@pytest.mark.parametrize("name", ["a.weight", "__metadata__", "", "\ud800"])
def test_a_name_that_is_taken_or_none_is_refused(tmp_path: Path, name: str) -> None:
    """No leaf takes the name of another one, or of something that is no leaf."""
    directory = make_shards(tmp_path)
    before = take_stock(directory)

    refuse_at(directory, RenameLeaf("d.mask", name))

    assert take_stock(directory) == before


@pytest.mark.parametrize("size", [None, 75, 77])
def test_a_total_that_was_right_stays_right(tmp_path: Path, size: int | None) -> None:
    """The total follows a leaf that goes; one that was wrong is not touched, as somebody may mean it."""
    directory = make_shards(tmp_path, total_size=size)
    right = read_index(directory)["metadata"]["total_size"] if size is None else None

    edit_at(directory, DropLeaf("d.mask"))

    found = read_index(directory)["metadata"]["total_size"]
    assert found == (size if right is None else 60 + 8 + 8)
    assert list(read_leaves(directory / SECOND)) == ["c.weight"]


def test_a_leaf_stored_twice_loses_the_copy_that_is_told(tmp_path: Path) -> None:
    """The row follows to the copy that stays; without a file it is not known which one is meant."""
    leaf = np.arange(3, dtype=np.float32)
    directory = write_shards(
        tmp_path, {FIRST: {"a": leaf, "b": leaf}, SECOND: {"b": leaf}}, weight_map={"a": FIRST, "b": SECOND}
    )

    assert "2 times" in refuse_at(directory, DropLeaf("b"))
    assert "not stored in" in refuse_at(directory, DropLeaf("a", SECOND))
    edit_at(directory, DropLeaf("b", SECOND))

    assert read_index(directory)["weight_map"] == {"a": FIRST, "b": FIRST}
    assert list(read_leaves(directory / FIRST)) == ["a", "b"]
    assert read_leaves(directory / SECOND) == {}


def test_a_leaf_that_an_alias_follows_from_stays(tmp_path: Path) -> None:
    """A tie in the metadata would be left hanging, unless it goes in the same fix."""
    file = write_file(tmp_path / "m.safetensors", {"a": ("F32", (2,)), "b": ("F32", (3,))}, {"x": "b"})

    assert "`x` follows from `b`" in refuse_at(file, DropLeaf("b"))
    edit_at(file, DropLeaf("b"), SetMetadata(file.name, "x", None))

    assert list(read_leaves(file)) == ["a"]


def test_rows_are_set_and_removed_and_nothing_else_in_the_index(tmp_path: Path) -> None:
    """No file but the index is written, and of that only the rows asked for."""
    directory = make_shards(tmp_path, weight_map={"a.weight": SECOND, "b.weight": FIRST, "gone": FIRST})
    before = take_stock(directory)
    text = (directory / INDEX).read_text()

    assert "does not hold" in refuse_at(directory, IndexLeaf("d.mask", FIRST))
    edit_at(directory, IndexLeaf("a.weight", FIRST), IndexLeaf("gone", ""))

    after = take_stock(directory)
    assert (directory / INDEX).read_text() == text.replace(f'"a.weight": "{SECOND}"', f'"a.weight": "{FIRST}"').replace(
        f',\n    "gone": "{FIRST}"', ""
    )
    assert {name for name in after if after[name] != before[name]} == {INDEX}


@pytest.mark.parametrize(
    "raw",
    [
        "{",
        "[]",
        '{"weight_map": []}',
        f'{{"metadata": {{"x": 1}}, "weight_map": {{"a.weight": "{FIRST}", "a.weight": "{SECOND}", "q": 3}}}}',
        f'\ufeff{{"weight_map": {{"c.weight": "{SECOND}"}}}}',
    ],
)
def test_a_damaged_index_is_rebuilt_from_the_headers(tmp_path: Path, raw: str) -> None:
    """Rows and total come from the shards; metadata that can be read stays."""
    directory = make_shards(tmp_path)
    (directory / INDEX).write_text(raw, encoding="utf-8")

    edit_at(directory, RebuildIndex(INDEX))

    document = read_index(directory)
    assert document["weight_map"] == {"a.weight": FIRST, "b.weight": FIRST, "c.weight": SECOND, "d.mask": SECOND}
    assert document["metadata"] == {**({"x": 1} if '"x"' in raw else {}), "total_size": 79}


def test_a_sound_index_is_rebuilt_in_its_own_style(tmp_path: Path) -> None:
    """Where the text can be kept, only the rows that were wrong change."""
    directory = make_shards(tmp_path, weight_map={"a.weight": SECOND, "c.weight": SECOND, "d.mask": SECOND, "e": FIRST})
    document = read_index(directory)
    (directory / INDEX).write_text(json.dumps(document, separators=(" ,", " : ")))

    edit_at(directory, RebuildIndex(INDEX))

    expected = {
        "metadata": {"total_size": 79},
        "weight_map": {"a.weight": FIRST, "b.weight": FIRST, "c.weight": SECOND, "d.mask": SECOND},
    }
    assert (directory / INDEX).read_text() == json.dumps(expected, separators=(" ,", " : "))


def test_the_first_of_two_fixes_wins_and_the_other_waits(tmp_path: Path) -> None:
    """Of fixes that contradict each other one is carried out whole, the other not at all."""
    directory = write_llama(tmp_path / "model")
    flag = ("config.json", (), "tie_word_embeddings")

    mended = mend_at(
        directory,
        fix(SetMember(*flag, "true")),
        fix(SetMember("config.json", (), "x", "1"), SetMember(*flag, "false")),
        fix(SetMember(*flag, "true"), SetMember("config.json", (), "y", "2")),
    )

    config = json.loads((directory / "config.json").read_text())
    assert (config["tie_word_embeddings"], config["y"], "x" in config) == (True, 2, False)
    assert len(mended.applied) == 2
    assert len(mended.refused) == 1


def test_an_object_and_a_member_of_it_do_not_both_change(tmp_path: Path) -> None:
    """Which of the two came first would decide what is left."""
    directory = tmp_path / "model"
    write_llama(directory)
    write_json(directory / "config.json", {"a": {"b": 1}})

    assert "two ways" in refuse_at(
        directory, SetMember("config.json", ("a",), "b", "2"), SetMember("config.json", (), "a", "{}")
    )


def test_twenty_thousand_fixes_are_one_write(tmp_path: Path) -> None:
    """Fixes of single leaves are carried out together, in time linear in their number."""
    leaves = {f"w.{number:05}": np.zeros(1, np.uint8) for number in range(20_000)}
    file = write_file(tmp_path / "m.safetensors", leaves)

    mended = mend_at(file, *(fix(RenameLeaf(name, name.removeprefix("w."))) for name in leaves))

    assert len(mended.applied) == 20_000
    assert list(read_leaves(file))[-1] == "19999"
