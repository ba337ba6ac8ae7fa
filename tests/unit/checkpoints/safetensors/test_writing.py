"""Writing: what a commit publishes, what it takes over, and what it gives back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.unit.checkpoints.safetensors.files import write_file, write_sharded
from tests.unit.checkpoints.safetensors.surgery import metadata_of, read_blocks, record_same, take_stock, tie, untie
from tiecli.checkpoints import open_reader, open_writer
from tiecli.checkpoints.protocol import CheckpointReader, Metadata, Target
from tiecli.errors import LeafNotFoundError, ManifestError, WriteFailedError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec

TABLE = np.arange(2000, dtype=np.float32).tobytes()
LEAVES = {
    "head": ("F32", [20, 100], TABLE),
    "body": ("U8", [3], b"xyz"),
    "embed": ("F32", [20, 100], TABLE),
    "third": ("F32", [20, 100], TABLE),
}
CONFIG = '{"tie_word_embeddings": false}'
TIED_CONFIG = '{"tie_word_embeddings": true}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One file, readable by the group."""
    path = write_file(tmp_path / "model.safetensors", LEAVES, {"k": "v", "format": "pt"}, indent=1)
    path.chmod(0o640)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with one file of weights and what stands beside such files."""
    path = tmp_path / "single"
    (path / "onnx").mkdir(parents=True)
    write_file(path / "model.safetensors", LEAVES)
    (path / "config.json").write_text(CONFIG)
    (path / "onnx" / "model.onnx").write_bytes(b"graph")
    (path / "onnx" / "model.onnx").chmod(0o600)
    (path / "onnx").chmod(0o555)
    (path / "run.sh").write_text("#!/bin/sh\n")
    (path / "run.sh").chmod(0o755)
    return path


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Three shards, the last of which holds nothing but the head."""
    path = write_sharded(
        tmp_path / "sharded",
        {
            "model-1.safetensors": {"embed": LEAVES["embed"], "body": LEAVES["body"]},
            "model-2.safetensors": {"third": LEAVES["third"], "more": ("U8", [2], b"ab")},
            "model-3.safetensors": {"head": LEAVES["head"]},
        },
    )
    (path / "config.json").write_text(CONFIG)
    return path


def read_header(path: Path) -> dict[str, object]:
    """The header of a file."""
    raw = path.read_bytes()
    header: dict[str, object] = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return header


def test_tied_file(file: Path, tmp_path: Path) -> None:
    """The alias is gone, the rest is there; the manifest, the convention and the format are added."""
    report = tie(file, tmp_path / "tied", {"head": "embed"})

    header = read_header(tmp_path / "tied")
    metadata = header["__metadata__"]
    assert isinstance(metadata, dict)
    assert list(header) == ["__metadata__", "body", "embed", "third"]
    assert {key: metadata[key] for key in ("k", "format", "head")} == {"k": "v", "format": "pt", "head": "embed"}
    assert json.loads(metadata["tiecli"])["schema"] == "tiecli.manifest/1"
    assert {name: leaf.tobytes() for name, leaf in load_file(tmp_path / "tied").items()} == {
        name: raw for name, (_, _, raw) in LEAVES.items() if name != "head"
    }
    assert (report.files[0].name, report.files[0].how, report.restored) == ("tied", "written", None)
    assert (tmp_path / "tied").stat().st_mode == file.stat().st_mode
    assert (tmp_path / "tied").read_bytes()[8:].index(b"xyz") % 8 == 0


def test_same_input_same_output(file: Path, tmp_path: Path) -> None:
    """Two runs write the same bytes."""
    for name in "ab":
        tie(file, tmp_path / name, {"head": "embed"})

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("sync", [False, True])
def test_file_in_place(file: Path, sync: bool) -> None:
    """A file is replaced where it is, and comes back as it was."""
    before = take_stock(file.parent)

    assert tie(file, file, {"head": "embed"}, sync=sync).target == file
    assert file.stat().st_size < 3 * len(TABLE)
    assert untie(file, file, sync=sync).restored is True
    assert take_stock(file.parent) == before


def test_partial_untie(file: Path, tmp_path: Path) -> None:
    """Ties come and go in any order; the last one to go restores the file."""
    tie(file, tmp_path / "1", {"head": "embed"})
    tie(tmp_path / "1", tmp_path / "2", {"third": "embed"})
    assert untie(tmp_path / "2", tmp_path / "3", "head").restored is None
    assert list(read_header(tmp_path / "3")) == ["__metadata__", "head", "body", "embed"]
    with open_reader(tmp_path / "3") as reader:
        assert "head" not in reader.metadata()
    assert untie(tmp_path / "3", tmp_path / "4").restored is True
    assert (tmp_path / "4").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("how", ["copy", "hardlink"])
def test_directory(directory: Path, tmp_path: Path, how: str) -> None:
    """Everything beside the weights comes along, permissions included, and the config as asked."""
    before = take_stock(directory)

    report = tie(
        directory,
        tmp_path / "tied",
        {"head": "embed"},
        texts={"config.json": TIED_CONFIG},
        kept_files=how,  # type: ignore[arg-type]
    )

    stock = take_stock(tmp_path / "tied")
    assert stock.keys() == before.keys()
    assert stock["config.json"] == (TIED_CONFIG.encode(), (directory / "config.json").stat().st_mode)
    assert {name: stock[name] for name in ("onnx", "onnx/model.onnx", "run.sh", ".")} == {
        name: before[name] for name in ("onnx", "onnx/model.onnx", "run.sh", ".")
    }
    kept = {file.name: file.how for file in report.files}
    assert kept["model.safetensors"] == kept["config.json"] == "written"
    assert kept["run.sh"] == ("linked" if how == "hardlink" else "copied")
    assert (tmp_path / "tied" / "run.sh").samefile(directory / "run.sh") is (how == "hardlink")
    assert untie(tmp_path / "tied", tmp_path / "untied").restored is True
    assert take_stock(tmp_path / "untied") == before
    assert take_stock(directory) == before


def test_directory_in_place(directory: Path) -> None:
    """Weights and config change together; everything else stays the very same file."""
    (directory / "latest").symlink_to("run.sh")
    (directory / "nowhere").symlink_to("absent")
    before, kept = take_stock(directory), (directory / "run.sh").stat()

    tie(directory, directory, {"head": "embed"}, texts={"config.json": TIED_CONFIG})
    assert (directory / "config.json").read_text() == TIED_CONFIG
    assert os.path.samestat((directory / "run.sh").stat(), kept)
    assert untie(directory, directory).restored is True
    assert take_stock(directory) == before
    assert [path.name for path in directory.parent.iterdir()] == ["single"]


@pytest.mark.parametrize("given", ["config.json", "model-3.safetensors", "model.safetensors.index.json"])
def test_in_place_by_the_name_of_one_file(sharded: Path, given: str) -> None:
    """Any file of a checkpoint stands for all of it, in place too."""
    before = take_stock(sharded)

    assert tie(sharded / given, sharded / given, {"third": "embed"}).target == sharded
    assert untie(sharded / given, sharded / given).restored is True
    assert take_stock(sharded) == before


def test_directory_in_place_with_one_change(directory: Path) -> None:
    """Where only the weights change, only they are replaced."""
    inode = directory.stat().st_ino

    report = tie(directory, directory, {"head": "embed"})

    assert directory.stat().st_ino == inode
    assert [file.name for file in report.files] == ["model.safetensors"]


def test_sharded(sharded: Path, tmp_path: Path) -> None:
    """Only shards that lose a leaf are rewritten; the index follows, and all comes back."""
    before = take_stock(sharded)

    report = tie(sharded, tmp_path / "tied", {"third": "embed"}, texts={"config.json": TIED_CONFIG})

    index = json.loads((tmp_path / "tied" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {
        "embed": "model-1.safetensors",
        "body": "model-1.safetensors",
        "more": "model-2.safetensors",
        "head": "model-3.safetensors",
    }
    assert index["metadata"]["total_size"] == 2 * len(TABLE) + 5
    assert index["metadata"]["third"] == "embed"
    assert list(read_header(tmp_path / "tied" / "model-2.safetensors")["__metadata__"]) == ["format", "third"]  # type: ignore[call-overload]
    assert {file.name: file.how for file in report.files} == {
        "config.json": "written",
        "model-1.safetensors": "copied",
        "model-2.safetensors": "written",
        "model-3.safetensors": "copied",
        "model.safetensors.index.json": "written",
    }
    assert untie(tmp_path / "tied", tmp_path / "untied").restored is True
    assert take_stock(tmp_path / "untied") == before


def test_emptied_shard(sharded: Path, tmp_path: Path) -> None:
    """A shard whose only leaf is tied away stays, empty, and is filled again."""
    report = tie(sharded, tmp_path / "tied", {"head": "embed", "third": "embed"})

    assert any("`model-3.safetensors` holds no leaf any more" in notice for notice in report.notices)
    with open_reader(tmp_path / "tied") as reader:
        assert "model-3.safetensors" in reader.files
    assert untie(tmp_path / "tied", tmp_path / "half", "third").restored is None
    assert untie(tmp_path / "half", tmp_path / "untied").restored is True
    assert take_stock(tmp_path / "untied") == take_stock(sharded)


def test_emptied_shard_that_was_removed(sharded: Path, tmp_path: Path) -> None:
    """Without its emptied shard the checkpoint opens all the same, and the leaf goes beside its canonical one."""
    tie(sharded, tmp_path / "tied", {"head": "embed"})
    (tmp_path / "tied" / "model-3.safetensors").unlink()

    report = untie(tmp_path / "tied", tmp_path / "untied")

    assert report.restored is False
    with open_reader(tmp_path / "untied") as reader:
        assert reader.extent(KeyPath(("head",))).file == "model-1.safetensors"
        assert b"".join(read_blocks(reader, KeyPath(("head",)))) == TABLE


def test_sharded_in_place(sharded: Path) -> None:
    """Shards, index and config change together, and come back."""
    before = take_stock(sharded)

    tie(sharded, sharded, {"head": "embed", "third": "embed"}, texts={"config.json": TIED_CONFIG})
    assert untie(sharded, sharded).restored is True
    assert take_stock(sharded) == before
    assert [path.name for path in sharded.parent.iterdir()] == ["sharded"]


def test_index_without_metadata(sharded: Path, tmp_path: Path) -> None:
    """An index that had no metadata gets it, the total included, since stock loaders insist."""
    path = sharded / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": json.loads(path.read_text())["weight_map"]}))

    tie(sharded, tmp_path / "tied", {"third": "embed"})

    index = json.loads((tmp_path / "tied" / path.name).read_text())
    assert index["metadata"]["total_size"] == 2 * len(TABLE) + 5
    assert untie(tmp_path / "tied", tmp_path / "untied").restored is True
    assert (tmp_path / "untied" / path.name).read_text() == path.read_text()


def test_cache_of_links(sharded: Path, tmp_path: Path) -> None:
    """Files that are links come out as files; a link to a directory stays one."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for path in sorted(sharded.iterdir()):
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(blobs / path.name)
    (snapshot / "more").symlink_to(blobs)

    report = tie(snapshot, tmp_path / "tied", {"third": "embed"}, kept_files="hardlink")

    assert not (tmp_path / "tied" / "model-1.safetensors").is_symlink()
    assert (tmp_path / "tied" / "model-1.safetensors").samefile(blobs / "model-1.safetensors")
    assert (tmp_path / "tied" / "more").readlink() == blobs
    assert any("`more` is taken over as a symbolic link" in notice for notice in report.notices)


def test_leaves_out_what_is_no_part(directory: Path, tmp_path: Path) -> None:
    """A repository's history, pipes, and what a killed run left do not come along."""
    (directory / ".git").mkdir()
    (directory / ".git" / "HEAD").write_text("ref")
    (directory / ".gitattributes").write_text("*")
    (directory / ".model.safetensors.tiecli-0123abcd").write_text("left")
    os.mkfifo(directory / "pipe")

    report = tie(directory, tmp_path / "tied", {"head": "embed"})

    names = {path.name for path in (tmp_path / "tied").iterdir()}
    assert names == {"model.safetensors", "config.json", "onnx", "run.sh", ".gitattributes"}
    assert any("pipe" in notice for notice in report.notices)
    assert any("`.git`" in notice for notice in report.notices)


def test_config_beside_a_single_file(directory: Path, tmp_path: Path) -> None:
    """A file given alone leaves the config beside it alone, and says so."""
    report = tie(
        directory / "model.safetensors", tmp_path / "tied", {"head": "embed"}, texts={"config.json": TIED_CONFIG}
    )

    assert (directory / "config.json").read_text() == CONFIG
    assert any("`config.json` stays as it is" in notice for notice in report.notices)


def test_config_edited_since(directory: Path, tmp_path: Path) -> None:
    """A config that somebody changed since the tie is not put back, and that is said."""
    tie(directory, tmp_path / "tied", {"head": "embed"}, texts={"config.json": TIED_CONFIG})
    (tmp_path / "tied" / "config.json").write_text("{}")

    report = untie(tmp_path / "tied", tmp_path / "untied")

    assert report.restored is False
    assert (tmp_path / "untied" / "config.json").read_text() == "{}"
    assert any("`config.json` was changed by others" in notice for notice in report.notices)


def test_config_removed_since(directory: Path, tmp_path: Path) -> None:
    """A config that somebody removed since the tie stays away."""
    tie(directory, tmp_path / "tied", {"head": "embed"}, texts={"config.json": TIED_CONFIG})
    (tmp_path / "tied" / "config.json").unlink()

    report = untie(tmp_path / "tied", tmp_path / "untied")

    assert report.restored is False
    assert any("`config.json` is not there any more" in notice for notice in report.notices)


def test_config_tied_twice(directory: Path, tmp_path: Path) -> None:
    """The first config is what comes back, however often it was changed."""
    tie(directory, tmp_path / "1", {"head": "embed"}, texts={"config.json": TIED_CONFIG})
    tie(tmp_path / "1", tmp_path / "2", {"third": "embed"}, texts={"config.json": '{"x": 1}'})
    tie(tmp_path / "2", tmp_path / "3", {})

    assert (tmp_path / "3" / "config.json").read_text() == '{"x": 1}'
    assert untie(tmp_path / "3", tmp_path / "4").restored is True
    assert take_stock(tmp_path / "4") == take_stock(directory)


def test_index_edited_since(sharded: Path, tmp_path: Path) -> None:
    """An index that somebody changed since the tie keeps the change."""
    tie(sharded, tmp_path / "tied", {"third": "embed"})
    path = tmp_path / "tied" / "model.safetensors.index.json"
    document = json.loads(path.read_text())
    document["metadata"]["mine"] = 1
    path.write_text(json.dumps(document))

    report = untie(tmp_path / "tied", tmp_path / "untied")

    index = json.loads((tmp_path / "untied" / path.name).read_text())
    assert report.restored is False
    assert index["metadata"] == {"total_size": 3 * len(TABLE) + 5, "mine": 1}
    assert index["weight_map"]["third"] == "model-2.safetensors"


def test_saved_again_by_others(file: Path, tmp_path: Path) -> None:
    """A tied file that another library saved again, the manifest kept, unties into a new header."""
    tie(file, tmp_path / "tied", {"head": "embed"})
    with open_reader(tmp_path / "tied") as reader:
        metadata = {**reader.metadata(), "tiecli": read_header(tmp_path / "tied")["__metadata__"]["tiecli"]}  # type: ignore[index]
    write_file(tmp_path / "again", {"embed": LEAVES["embed"], "new": ("U8", [1], b"n")}, metadata)

    report = untie(tmp_path / "again", tmp_path / "untied")

    header = read_header(tmp_path / "untied")
    assert report.restored is False
    assert "changed by others" in report.notices[0]
    assert list(header) == ["__metadata__", "embed", "new", "head"]
    assert header["__metadata__"] == {"k": "v", "format": "pt"}
    # A tie and an untie later there is no record any more of an original to restore.
    tie(tmp_path / "again", tmp_path / "tied again", {})
    assert untie(tmp_path / "tied again", tmp_path / "untied again").restored is None


def test_declared_tie_is_materialised(tmp_path: Path) -> None:
    """A leaf that only another library's metadata declares is added, and declared no more."""
    source = write_file(tmp_path / "m", {"embed": LEAVES["embed"]}, {"head": "embed", "k": "v"})
    path, canonical = KeyPath(("head",)), KeyPath(("embed",))

    with open_reader(source) as reader, open_writer(reader, Target(tmp_path / "out", sync=False)) as writer:
        writer.keep(canonical)
        writer.write(path, reader.specs()[canonical], read_blocks(reader, canonical), canonical)
        report = writer.commit(Metadata(None))

    assert report.restored is None
    assert read_header(tmp_path / "out")["__metadata__"] == {"k": "v"}
    assert set(load_file(tmp_path / "out")) == {"embed", "head"}


def test_new_values(sharded: Path, tmp_path: Path) -> None:
    """A leaf may get new values, and even another dtype; its neighbours stay."""
    path = KeyPath(("body",))
    with open_reader(sharded) as reader, open_writer(reader, Target(tmp_path / "out", sync=False)) as writer:
        for other in reader.specs():
            writer.keep(other)
        writer.write(path, LeafSpec((2,), DTYPES["BF16"]), [memoryview(b"12"), memoryview(b"34")])
        writer.commit(Metadata(None))

    with open_reader(tmp_path / "out") as reader:
        assert b"".join(read_blocks(reader, path)) == b"1234"
        assert str(reader.specs()[path]) == "BF16 2"
        assert reader.metadata()["total_size"] == str(3 * len(TABLE) + 6)
        assert b"".join(read_blocks(reader, KeyPath(("embed",)))) == TABLE


def test_nothing_to_do_in_place(file: Path) -> None:
    """A commit that changes nothing writes nothing."""
    before = file.stat()
    with open_reader(file) as reader, open_writer(reader, Target(file, in_place=True)) as writer:
        for path in reader.specs():
            writer.keep(path)
        report = writer.commit(Metadata(None))

    assert (report.files, report.notices) == ((), ("nothing changed, so nothing was written",))
    assert os.path.samestat(file.stat(), before)


def test_progress_counts_every_byte(sharded: Path, tmp_path: Path) -> None:
    """The bytes reported are those of the leaves and of the files that are copied."""
    seen: list[int] = []
    with open_reader(sharded) as reader, open_writer(reader, Target(tmp_path / "out", sync=False)) as writer:
        for path in reader.specs():
            if path.spelling != "third":
                writer.keep(path)
        spec = reader.specs()[KeyPath(("third",))]
        writer.commit(metadata_of([record_same("third", "embed", spec)]), seen.append)

    copied = sum(
        (sharded / name).stat().st_size for name in ("model-1.safetensors", "model-3.safetensors", "config.json")
    )
    assert sum(seen) == copied + 2


def commit_blocks(reader: CheckpointReader, target: Path, *blocks: bytes) -> None:
    """Writes `body` anew from these blocks."""
    with open_writer(reader, Target(target, sync=False)) as writer:
        writer.write(KeyPath(("body",)), LeafSpec((3,), DTYPES["U8"]), [memoryview(block) for block in blocks])
        writer.commit(Metadata(None))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [([b"ab"], "`body`: 1 of 3 bytes did not come for it"), ([b"ab", b"cd"], "`body`: more than 3 bytes came for it")],
)
def test_blocks_of_another_size(file: Path, tmp_path: Path, blocks: list[bytes], message: str) -> None:
    """A leaf that comes with too few or too many bytes is refused, and nothing is left behind."""
    with open_reader(file) as reader, pytest.raises(WriteFailedError, match=message):
        commit_blocks(reader, tmp_path / "out", *blocks)

    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_what_the_reference_refuses_is_not_published(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that the reference reader does not open is thrown away."""
    monkeypatch.setattr("tiecli.checkpoints.safetensors.layout.pad_header", lambda raw, _: raw[:-1])
    monkeypatch.setattr("tiecli.checkpoints.safetensors.drafts.pad_header", lambda raw, _: raw[:-1])

    with pytest.raises(WriteFailedError, match=r"safetensors refuses what was written: .*invalid JSON"):
        tie(file, tmp_path / "out", {"head": "embed"})

    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_keeps_only_what_is_there(file: Path, tmp_path: Path) -> None:
    """A leaf that is not stored cannot be kept."""
    with (
        open_reader(file) as reader,
        open_writer(reader, Target(tmp_path / "out")) as writer,
        pytest.raises(LeafNotFoundError, match="`absent` is not stored in"),
    ):
        writer.keep(KeyPath(("absent",)))


def test_nothing_without_commit(file: Path, tmp_path: Path) -> None:
    """Leaving without a commit leaves nothing behind."""
    with open_reader(file) as reader, open_writer(reader, Target(tmp_path / "out")) as writer:
        writer.keep(KeyPath(("embed",)))

    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(("what", "message"), [("packed", "header is damaged"), ("nbytes", "does not unpack")])
def test_damaged_original(file: Path, tmp_path: Path, what: str, message: str) -> None:
    """A manifest whose copy of the original header is damaged is refused."""
    tie(file, tmp_path / "tied", {"head": "embed"})
    metadata = dict(read_header(tmp_path / "tied")["__metadata__"])  # type: ignore[call-overload]
    document = json.loads(metadata["tiecli"])
    document["originals"]["."][what] = "zzzz" if what == "packed" else 7
    metadata["tiecli"] = json.dumps(document)
    write_file(tmp_path / "spoilt", {name: LEAVES[name] for name in ("body", "embed", "third")}, metadata)

    with pytest.raises(ManifestError, match=message):
        untie(tmp_path / "spoilt", tmp_path / "out")


def test_original_that_is_no_header(file: Path, tmp_path: Path) -> None:
    """A copy that unpacks to something else than a header is refused."""
    from tiecli.manifest import Original

    tie(file, tmp_path / "tied", {"head": "embed"})
    metadata = dict(read_header(tmp_path / "tied")["__metadata__"])  # type: ignore[call-overload]
    document = json.loads(metadata["tiecli"])
    spoilt = Original.pack("header", b"rubbish")
    document["originals"]["."] |= {"packed": spoilt.packed, "nbytes": spoilt.nbytes}
    metadata["tiecli"] = json.dumps(document)
    write_file(tmp_path / "spoilt", {name: LEAVES[name] for name in ("body", "embed", "third")}, metadata)

    with pytest.raises(ManifestError, match=r"copy of an original header is damaged: the header of `.` is not JSON"):
        untie(tmp_path / "spoilt", tmp_path / "out")


def test_other_readers_have_no_writer(tmp_path: Path) -> None:
    """Only what this door opened can be rewritten."""
    with pytest.raises(TypeError, match="no writer for object"):
        open_writer(object(), Target(tmp_path / "out"))  # type: ignore[arg-type]


def test_padding_makes_blocks_shareable(tmp_path: Path) -> None:
    """In a large file, kept bytes lie in their blocks as they did, so that they can be shared."""
    rest = bytes(range(256)) * 8192
    source = write_file(tmp_path / "m", {"head": ("U8", [10], b"0123456789"), "rest": ("U8", [len(rest)], rest)})
    raw = source.read_bytes()
    text = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    text += b" " * (-len(text) % 8 + 6)
    source.write_bytes(len(text).to_bytes(8, "little") + text + raw[-len(rest) - 10 :])

    with open_reader(source) as reader, open_writer(reader, Target(tmp_path / "out", sync=False)) as writer:
        writer.keep(KeyPath(("rest",)))
        writer.commit(Metadata(None))

    with open_reader(source) as before, open_reader(tmp_path / "out") as after:
        path = KeyPath(("rest",))
        assert before.extent(path).offset % 4096 == after.extent(path).offset % 4096
