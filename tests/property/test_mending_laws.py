"""Whatever edits come together: the checkpoint stays sound, and leaves that no edit takes keep their bytes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lint.building import Leaf, write_json, write_shards
from tests.unit.checkpoints.mendings import fix, mend_at, read_leaves, read_metadata
from tiecli.checkpoints import open_reader
from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    Edit,
    IndexLeaf,
    RebuildIndex,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
)
from tiecli.verbs.fixing import CodedFix

INDEX = "model.safetensors.index.json"
FILES = ("a.safetensors", "b.safetensors", "c.safetensors")
NAMES = tuple("pqrstuvw")

leaves = st.tuples(st.sampled_from(["F32", "U8", "BF16", "F64", "BOOL"]), st.tuples(st.integers(0, 5)))
places = st.tuples(st.sampled_from(FILES), leaves)
shards = st.fixed_dictionaries(dict.fromkeys(NAMES[:5], places), optional=dict.fromkeys(NAMES[5:], places))
names, files = st.sampled_from(NAMES), st.sampled_from((*FILES, "d.safetensors"))
keys, texts = st.sampled_from(["format", "note", "p"]), st.sampled_from(["pt", "q", "r"])
edits: st.SearchStrategy[Edit] = st.one_of(
    st.builds(RenameLeaf, names, names),
    st.builds(RenameLeaf, names, names),
    st.builds(DropLeaf, names, st.just("") | files),
    st.builds(SetMetadata, files, keys, st.none() | texts),
    st.builds(Repack, files),
    st.builds(RenameFile, files, files),
    st.builds(RebuildIndex, st.just(INDEX)),
    st.builds(IndexLeaf, names, st.just("") | files),
    st.builds(SetMember, st.just("config.json"), st.sampled_from([(), ("x",)]), texts, st.sampled_from(["1", "{}"])),
    st.builds(DropMember, st.just("config.json"), st.just(()), texts),
)
fixes = st.lists(st.lists(edits, min_size=1, max_size=3).map(lambda edits: fix(*edits)), max_size=6)


def write_checkpoint(directory: Path, placed: dict[str, tuple[str, Leaf]], aliases: dict[str, str]) -> None:
    """Writes a sound sharded checkpoint with a config and aliases in its metadata."""
    held: dict[str, dict[str, Leaf]] = {file: {} for file, _ in placed.values()}
    for name, (file, leaf) in placed.items():
        held[file][name] = leaf
    write_shards(directory, held, metadata={"format": "pt", **aliases})
    write_json(directory / "config.json", {"x": {"q": 1}, "p": 2})


def read_all(directory: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """All leaves, as stock safetensors reads them."""
    return {name: it for file in directory.glob("*.safetensors") for name, it in read_leaves(file).items()}


def follow(stored: dict[str, tuple[str, list[int], bytes]], done: list[CodedFix]) -> dict[str, object]:
    """What is to be stored after some fixes, all carried out at once."""
    renamed = {edit.leaf: edit.name for _, it in done for edit in it.edits if isinstance(edit, RenameLeaf)}
    gone = {edit.leaf for _, it in done for edit in it.edits if isinstance(edit, DropLeaf)}
    return {renamed.get(name, name): it for name, it in stored.items() if name not in gone}


@settings(max_examples=150, deadline=None)
@given(placed=shards, aliases=st.dictionaries(st.sampled_from("xyz"), names, max_size=2), fixes=fixes)
def test_leaves_that_stay_keep_their_bytes(
    placed: dict[str, tuple[str, Leaf]], aliases: dict[str, str], fixes: list[CodedFix]
) -> None:
    """Headers and index agree afterwards, totals are right, ties lead to leaves, and values are where they belong."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary, "model")
        aliases = {alias: name for alias, name in aliases.items() if name in placed}
        write_checkpoint(directory, placed, aliases)
        before = read_all(directory)

        mended = mend_at(directory, *fixes)

        after = read_all(directory)
        assert after == follow(before, mended.done)
        assert len(mended.done) + len(mended.refused) == len(fixes)
        index = json.loads((directory / INDEX).read_text())
        rows = dict(index["weight_map"])
        taken = {
            edit.leaf for _, it in mended.done for edit in it.edits if isinstance(edit, IndexLeaf) and not edit.shard
        }
        for file in directory.glob("*.safetensors"):
            for name in read_leaves(file):
                assert rows.pop(name, file.name) == file.name or taken
            for alias, name in (read_metadata(file) or {}).items():
                assert alias not in aliases or name in after
        assert rows == {}
        if not taken:
            assert index["metadata"]["total_size"] == sum(len(raw) for _, _, raw in after.values())
            with open_reader(directory) as reader:
                assert {path.spelling for path in reader.specs()} == after.keys()
