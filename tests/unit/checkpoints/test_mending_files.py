"""Mending by whole files: names change together, ties follow, and nothing outside the checkpoint is touched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import tiecli
from tests.crash.orbax_sources import read_leaves as read_tree
from tests.lint.building import write_file, write_json, write_llama, write_shards
from tests.unit.checkpoints.mendings import edit_at, fix, mend_at, read_leaves, refuse_at
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints import staging
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import InPlaceError, SourceChangedError, TargetError
from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    Edit,
    IndexLeaf,
    JoinDatabases,
    RebuildIndex,
    RemovePath,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
    TieLeaves,
    UntieLeaf,
    WriteText,
)
from tiecli.plan import TieRequest
from tiecli.verbs.fixing import Mended, mend_round

ORBAX = Path(__file__).parents[3] / "fixtures" / "orbax"
INDEX = "model.safetensors.index.json"
NAMES = tuple(f"model-0000{number}-of-00004.safetensors" for number in range(1, 5))


def make_shards(directory: Path) -> Path:
    """Three shards of a set, a config, and a file of somebody else's."""
    shards = {name: {f"leaf{name[10]}": ("F32", (int(name[10]),))} for name in NAMES[:3]}
    write_shards(directory, shards)
    write_json(directory / "config.json", {"tie_word_embeddings": False})
    (directory / "sub").mkdir()
    (directory / "sub" / "more").write_text("more")
    (directory / "sub").chmod(0o555)
    return directory


def read_rows(directory: Path) -> dict[str, str]:
    """The rows of the index."""
    rows: dict[str, str] = json.loads((directory / INDEX).read_text())["weight_map"]
    return rows


@pytest.mark.parametrize(
    "names",
    [
        {NAMES[0]: NAMES[1], NAMES[1]: NAMES[2], NAMES[2]: NAMES[3]},
        {NAMES[2]: NAMES[0], NAMES[0]: NAMES[2]},
        {NAMES[1]: NAMES[3]},
    ],
)
def test_files_are_renamed_in_chains_and_circles(tmp_path: Path, names: dict[str, str]) -> None:
    """All of them at once, with the index; contents and all other files stay."""
    directory = make_shards(tmp_path / "model")
    before, rows = take_stock(directory), read_rows(directory)

    edit_at(directory, *(RenameFile(old, new) for old, new in names.items()))

    after = take_stock(directory)
    assert {names.get(name, name): it for name, it in before.items() if name != INDEX} == {
        name: it for name, it in after.items() if name != INDEX
    }
    assert read_rows(directory) == {leaf: names.get(file, file) for leaf, file in rows.items()}


def test_a_file_is_renamed_and_written_at_once(tmp_path: Path) -> None:
    """Edits call files and leaves by the names from before."""
    directory = make_shards(tmp_path / "model")

    edit_at(
        directory,
        RenameFile(NAMES[0], NAMES[3]),
        SetMetadata(NAMES[0], "format", "np"),
        RenameLeaf("leaf1", "first"),
        SetMember("config.json", (), "x", "1"),
    )

    assert list(read_leaves(directory / NAMES[3])) == ["first"]
    assert read_rows(directory)["first"] == NAMES[3]
    assert not (directory / NAMES[0]).exists()
    assert json.loads((directory / "config.json").read_text())["x"] == 1


@pytest.mark.parametrize(
    "edits",
    [
        (RenameFile(NAMES[0], NAMES[1]),),
        (RenameFile(NAMES[0], "config.json"),),
        (RenameFile(NAMES[0], "new"), RenameFile(NAMES[1], "new")),
        (RenameFile(NAMES[0], "x"), RenameFile(NAMES[0], "y")),
        (RenameFile("not-there", "new"),),
        (RenameFile(NAMES[0], "nowhere/new"),),
        (RemovePath(NAMES[0]),),
        (RemovePath("not-there"),),
        (RemovePath("config.json"), SetMember("config.json", (), "x", "1")),
        (RemovePath("sub"), RenameFile("sub/more", "more")),
        (RemovePath("sub"), RemovePath("sub/more")),
        (WriteText("config.json", "x"),),
        (WriteText("new", "x"), WriteText("new", "y")),
        (SetMember("not-there.json", (), "x", "1"),),
        (SetMember("config.json", ("x",), "x", "1"),),
        (SetMember("config.json", (), "x", "{1}"),),
        (SetMetadata("config.json", "x", "1"),),
        (Repack("not-there.safetensors"),),
        (RebuildIndex("config.json"),),
        (DropLeaf("leaf1"), RenameLeaf("leaf1", "x")),
        (DropLeaf("leaf1"), TieLeaves("leaf2", "leaf1")),
        (RenameLeaf("leaf1", "x"), RenameLeaf("leaf2", "x")),
        (JoinDatabases("."),),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_whole(tmp_path: Path, edits: tuple[Edit, ...]) -> None:
    """A fix that meets what is in the way, or contradicts itself, changes nothing at all."""
    directory = make_shards(tmp_path / "model")
    before = take_stock(tmp_path)

    refuse_at(directory, SetMember("config.json", (), "tie_word_embeddings", "true"), *edits)

    assert take_stock(tmp_path) == before


HOSTILE = (
    "../out",
    "/tmp/out",
    "a/../../out",
    "",
    ".",
    "..",
    "a\0b",
    "C:\\out",
    "\ud800",
    "./out",
    "a//b",
    ".x.tiecli-00000000",
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("format_", ["safetensors", "orbax"])
def test_nothing_outside_is_read_or_written(tmp_path: Path, name: str, format_: str) -> None:
    """Names that lead out of the checkpoint, on any system, are refused in every edit."""
    directory = tmp_path / "inner" / "model"
    if format_ == "safetensors":
        make_shards(directory)
    else:
        shutil.copytree(ORBAX / "pytree", directory)
    (tmp_path / "inner" / "out").write_text('{"weight_map": {}}')
    before = take_stock(tmp_path)

    for edit in (
        RenameFile(NAMES[0], name),
        RenameFile(name, "new"),
        RemovePath(name),
        WriteText(name, "x"),
        SetMember(name, (), "x", "1"),
        DropMember(name, (), "weight_map"),
        SetMetadata(name, "x", "1"),
        Repack(name),
        RebuildIndex(name),
        *([IndexLeaf("leaf1", name)] if name else []),
        *([JoinDatabases(name)] if name != "." else []),
    ):
        refuse_at(directory, edit)

    assert take_stock(tmp_path) == before


def test_nothing_behind_a_link_is_touched(tmp_path: Path) -> None:
    """A directory that is a link may lead anywhere."""
    directory = make_shards(tmp_path / "model")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "config.json").write_text("{}")
    (directory / "link").symlink_to(tmp_path / "outside")
    before = take_stock(tmp_path)

    for edit in (
        SetMember("link/config.json", (), "x", "1"),
        WriteText("link/new", "x"),
        RemovePath("link/config.json"),
    ):
        assert "symbolic link" in refuse_at(directory, edit)

    assert take_stock(tmp_path) == before


@pytest.mark.parametrize(
    "edits",
    [
        (SetMember("config.json", (), "x", "1"),),
        (SetMetadata(NAMES[0], "x", "1"),),
        (RenameLeaf("leaf1", "x"),),
        (RenameFile(NAMES[0], NAMES[3]),),
        (RemovePath("config.json"),),
    ],
    ids=str,
)
def test_links_of_a_cache_are_not_replaced(tmp_path: Path, edits: tuple[Edit, ...]) -> None:
    """In the cache of the hub every file is a link to a blob that others may share."""
    make_shards(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(f"../blobs/{path.name}")
    before = take_stock(tmp_path)

    with pytest.raises(InPlaceError, match="symbolic link") as caught:
        mend_at(tmp_path / "snapshot", fix(*edits))

    assert "cp -rL" in caught.value.hints[0]
    assert take_stock(tmp_path) == before


@pytest.mark.parametrize("edits", [(SetMetadata(NAMES[0], "x", "1"),), (RenameLeaf("leaf1", "x"),)], ids=["one", "two"])
def test_a_checkpoint_that_changes_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edits: tuple[Edit, ...]
) -> None:
    """Somebody else's write shows before anything is put in place."""
    directory = make_shards(tmp_path / "model")
    real = staging.Stage.__init__

    def meddle(self: staging.Stage, target: Path, *, directory: bool) -> None:
        real(self, target, directory=directory)
        with (tmp_path / "model" / NAMES[0]).open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"!")

    monkeypatch.setattr(staging.Stage, "__init__", meddle)
    with pytest.raises(SourceChangedError):
        mend_at(directory, fix(*edits))

    assert list(read_leaves(directory / NAMES[0])) == ["leaf1"]
    assert [path for path in tmp_path.rglob("*") if staging.is_stage(path.name)] == []


def test_a_directory_that_forbids_writing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is an error in words."""
    directory = make_shards(tmp_path / "model")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(staging.Stage, "_start", refuse)
    with pytest.raises(TargetError, match="permission denied"):
        mend_at(directory, fix(SetMetadata(NAMES[0], "x", "1")))


def test_other_hard_links_keep_what_they_had(tmp_path: Path) -> None:
    """A file is replaced, never written into."""
    directory = make_shards(tmp_path / "model")
    os.link(directory / NAMES[0], tmp_path / "other")
    raw = (tmp_path / "other").read_bytes()

    mended = edit_at(directory, SetMetadata(NAMES[0], "x", "1"))

    assert (tmp_path / "other").read_bytes() == raw
    assert "hard links" in mended.notices[0]


@pytest.mark.parametrize("sharded", [False, True])
def test_the_manifest_follows_leaves_and_files(tmp_path: Path, sharded: bool) -> None:
    """A tied checkpoint whose leaves get new names can still be untied, alias for alias."""
    table = ("F32", (4, 8))
    directory = tmp_path / "model"
    leaves = {"wrap.embed": table, "wrap.norm": ("F32", (4,))}
    if sharded:
        write_shards(directory, {NAMES[0]: leaves, NAMES[1]: {}})
    else:
        write_file(directory / "model.safetensors", leaves)
    file = directory / (NAMES[0] if sharded else "model.safetensors")
    embed = read_leaves(file)["wrap.embed"]
    write_copy(file, "head", "wrap.embed", directory)
    tiecli.tie(directory, [TieRequest("wrap.embed", "head")], tiecli.Target(directory, in_place=True))

    assert "`head` is" in refuse_at(directory, RenameLeaf("wrap.norm", "head"))
    assert "has to stay" in refuse_at(directory, DropLeaf("wrap.embed"))
    edits: list[Edit] = [RenameLeaf("wrap.embed", "embed"), RenameLeaf("wrap.norm", "norm")]
    edit_at(directory, *edits, *([RenameFile(NAMES[0], NAMES[2])] if sharded else []))
    tiecli.untie(directory, tiecli.Target(directory, in_place=True))

    found = read_leaves(directory / NAMES[2] if sharded else file)
    assert found["embed"] == found["head"] == embed
    assert set(found) == {"embed", "head", "norm"}


def write_copy(file: Path, name: str, of: str, directory: Path) -> None:
    """Stores a leaf once more under another name, the index included."""
    leaves = {leaf: (dtype, tuple(shape)) for leaf, (dtype, shape, _) in read_leaves(file).items()}
    raw = {leaf: data for leaf, (_, _, data) in read_leaves(file).items()}
    header, data = {}, b""
    for leaf, origin in [*((leaf, leaf) for leaf in leaves), (name, of)]:
        dtype, shape = leaves[origin]
        header[leaf] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw[origin])]}
        data += raw[origin]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)
    if (directory / INDEX).exists():
        edit_at(directory, IndexLeaf(name, file.name))


def test_leaves_are_tied_after_the_other_edits(tmp_path: Path) -> None:
    """A tie goes through `tie`, which proves it and sets the config's flag; the rest of the round is there by then."""
    shutil.copytree(ORBAX.parent / "gpt2-untied", tmp_path / "model")
    (file,) = (tmp_path / "model").glob("*.safetensors")

    edit_at(
        tmp_path / "model",
        SetMetadata(file.name, "x", "1"),
        TieLeaves("transformer.wte.weight", "lm_head.weight"),
    )

    with tiecli.open_reader(tmp_path / "model") as reader:
        assert "lm_head.weight" not in {path.spelling for path in reader.specs()}
        assert reader.metadata()["x"] == "1"
    edit_at(tmp_path / "model", UntieLeaf("lm_head.weight", "transformer.wte.weight"))
    with tiecli.open_reader(tmp_path / "model") as reader:
        assert "lm_head.weight" in {path.spelling for path in reader.specs()}


def test_a_tie_that_is_none_is_refused_with_all_of_its_fix(tmp_path: Path) -> None:
    """The bytes decide; nothing that goes with such a tie is written, and what does not, is."""
    directory = write_llama(tmp_path / "model")

    mended = mend_at(
        directory,
        fix(SetMember("config.json", (), "x", "1"), TieLeaves("model.embed_tokens.weight", "lm_head.weight")),
        fix(TieLeaves("model.embed_tokens.weight", "lm_head.weight")),
        fix(SetMember("config.json", (), "y", "1")),
    )

    config = json.loads((directory / "config.json").read_text())
    assert ("x" in config, config["y"]) == (False, 1)
    assert len(mended.applied) == 1
    assert len(mended.refused) == 2


def test_orbax_documents_paths_and_markers_change(tmp_path: Path) -> None:
    """Each fix of an Orbax checkpoint touches as little as it can; values stay."""
    shutil.copytree(ORBAX / "named-steps", tmp_path / "ckpt")
    (step,) = (path for path in (tmp_path / "ckpt").iterdir() if path.name.endswith("100"))
    (tmp_path / "ckpt" / f"{step.name}.orbax-checkpoint-tmp-1" / "d").mkdir(parents=True)
    (tree,) = step.rglob("_METADATA")
    name = str(tree.relative_to(tmp_path / "ckpt"))
    values, text = read_tree(tmp_path / "ckpt"), tree.read_text()
    key = next(iter(json.loads(text)["tree_metadata"]))

    mended = mend_at(
        tmp_path / "ckpt",
        fix(RemovePath(f"{step.name}.orbax-checkpoint-tmp-1")),
        fix(WriteText(f"{step.name}/commit.txt", "done")),
        fix(SetMember(name, ("tree_metadata", key, "value_metadata"), "write_shape", "[1]")),
        fix(SetMember(name, (), "custom", '"x"')),
    )

    assert (len(mended.applied), mended.refused) == (4, [])
    assert not (tmp_path / "ckpt" / f"{step.name}.orbax-checkpoint-tmp-1").exists()
    assert (step / "commit.txt").read_text() == "done"
    assert (step / "commit.txt").stat().st_mode & 0o777 == 0o644
    document = json.loads(text)
    document["tree_metadata"][key]["value_metadata"]["write_shape"] = [1]
    assert json.loads(tree.read_text()) == document | {"custom": "x"}
    assert read_tree(tmp_path / "ckpt") == values


@pytest.mark.parametrize("item", [".", "default"])
def test_databases_of_processes_are_joined(tmp_path: Path, item: str) -> None:
    """The manifest and its node appear together; all values are then read as before."""
    root = tmp_path / "ckpt"
    shutil.copytree(ORBAX / "two-processes", root / item)
    values = read_tree(root / item)
    (root / item / "manifest.ocdbt").unlink()
    shutil.rmtree(root / item / "d", ignore_errors=True)

    mended = Mended(Unit(root, "orbax", root))
    mend_round(mended, [fix(JoinDatabases(item))], sync=False)

    assert mended.refused == []
    assert read_tree(root / item) == values
