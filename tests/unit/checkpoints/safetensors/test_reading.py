"""Reading: which files a path stands for, what is refused, and what is read."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.unit.checkpoints.safetensors.files import put_together, write_file, write_sharded
from tiecli.checkpoints import carries_texts, open_reader
from tiecli.checkpoints.protocol import LeafStorage, Selection
from tiecli.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    HeaderError,
    IndexFileError,
    LeafNotFoundError,
    LfsPointerError,
    ManifestError,
    ShardMismatchError,
    SourceChangedError,
    TransformMismatchError,
    TruncatedFileError,
    UncoveredBytesError,
    UnreadableFileError,
    UsageError,
)
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES

LEAF = {"a.w": ("F32", [2], b"12345678")}
OTHER = {"b": ("U8", [3], b"xyz")}
PATH = KeyPath.from_name("a.w")


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A directory with one file, a config and something else."""
    directory = tmp_path / "single"
    directory.mkdir()
    write_file(directory / "model.safetensors", LEAF | OTHER, {"format": "pt"})
    (directory / "config.json").write_text('{"tie_word_embeddings": true}')
    (directory / "tokenizer.json").write_text("{}")
    (directory / "notes.bin").write_bytes(b"notes")
    return directory


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A directory with two shards and their index."""
    return write_sharded(tmp_path / "sharded", {"model-1.safetensors": LEAF, "model-2.safetensors": OTHER})


@pytest.mark.parametrize("given", ["", "config.json", "tokenizer.json"])
def test_directory_by_any_name(single: Path, given: str) -> None:
    """A directory, or a text file in it, stands for the checkpoint in it."""
    with open_reader(single / given) as reader:
        assert reader.root == single
        assert reader.files == ("model.safetensors",)
        assert [path.spelling for path in reader.specs()] == ["a.w", "b"]
        assert carries_texts(reader)


def test_single_file(single: Path) -> None:
    """A file that no index lists stands for itself, and sees what is beside it."""
    with open_reader(str(single / "model.safetensors")) as reader:
        assert reader.root == single / "model.safetensors"
        assert reader.text("config.json") == '{"tie_word_embeddings": true}'
        assert reader.text("absent.json") is None
        assert reader.metadata() == {"format": "pt"}
        assert reader.manifest() is None
        assert not carries_texts(reader)


@pytest.mark.parametrize("given", ["", "model-2.safetensors", "model.safetensors.index.json"])
def test_sharded_by_any_name(sharded: Path, given: str) -> None:
    """A directory, a shard or the index stands for the whole."""
    with open_reader(sharded / given) as reader:
        assert reader.root == sharded
        assert reader.files == ("model-1.safetensors", "model-2.safetensors")
        assert [path.spelling for path in reader.specs()] == ["a.w", "b"]
        assert reader.metadata() == {"format": "pt", "total_size": "11"}
        assert reader.extent(PATH).file == "model-1.safetensors"


def test_follows_links(sharded: Path, tmp_path: Path) -> None:
    """A Hugging Face cache, whose files are links to blobs, is read like any directory."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "rev"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(sharded.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")

    with open_reader(snapshot / "model-1.safetensors") as reader:
        assert reader.files == ("model-1.safetensors", "model-2.safetensors")


def test_unlisted_file_beside_an_index(sharded: Path) -> None:
    """A file that the index beside it does not list stands for itself."""
    write_file(sharded / "adapter.safetensors", OTHER)
    write_sharded(sharded, {"z-1.safetensors": OTHER}, name="z")
    (sharded / "broken.safetensors.index.json").write_text("{")

    with open_reader(sharded / "adapter.safetensors") as reader:
        assert reader.root == sharded / "adapter.safetensors"
    with open_reader(sharded / "z-1.safetensors") as reader:
        assert reader.files == ("z-1.safetensors",)
    (sharded / "broken.safetensors.index.json").write_text('{"adapter.safetensors": ')
    with pytest.raises(IndexFileError, match=r"broken.* is not JSON"):
        open_reader(sharded / "adapter.safetensors")


def test_empty_checkpoint(tmp_path: Path) -> None:
    """A file without leaves is a checkpoint."""
    (tmp_path / "m.safetensors").write_bytes(put_together("{}"))

    with open_reader(tmp_path) as reader:
        assert reader.specs() == {}


def refuse(path: Path, error: type[CheckpointError], message: str) -> None:
    """Checks how a path is refused."""
    with pytest.raises(error, match=message) as caught:
        open_reader(path)
    assert caught.value.hints


def test_nothing_there(tmp_path: Path, single: Path) -> None:
    """A path that does not exist, or cannot, is refused by name."""
    refuse(tmp_path / "absent", CheckpointNotFoundError, "absent`: no such file or directory")
    refuse(single / "config.json" / "x", CheckpointNotFoundError, "x`: no")
    refuse(tmp_path / ("x" * 300), CheckpointError, "file name too long|no such file")
    refuse(Path("a\0b"), CheckpointError, "null|no such file")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no safetensors file; it is empty"),
        (["a.txt"], "holds no safetensors file; only `a.txt`"),
        (["pytorch_model.bin", "config.json"], "holds no safetensors file, but `pytorch_model.bin`"),
        (
            ["a.safetensors", "b.safetensors"],
            "holds 2 safetensors files and no index .* `a.safetensors`, `b.safetensors`",
        ),
        ([f"{i}.safetensors" for i in range(8)], "`4.safetensors` and 3 more"),
        (["a.safetensors.index.json", "b.safetensors.index.json"], "holds several checkpoints: `a.*`, `b"),
    ],
)
def test_directory_without_one_checkpoint(tmp_path: Path, names: list[str], message: str) -> None:
    """A directory that holds no checkpoint, or several, is refused with what is there."""
    for name in names:
        (tmp_path / name).write_text("{}")

    refuse(tmp_path, CheckpointNotFoundError, message)


@pytest.mark.parametrize("name", ["_METADATA", "_CHECKPOINT_METADATA"])
def test_json_file_of_an_orbax_checkpoint(tmp_path: Path, name: str) -> None:
    """A file that has nothing to do with safetensors is refused with the directory to give in its place."""
    for file in (name, "_strings.json"):
        (tmp_path / file).write_text("{}")

    refuse(tmp_path / "_strings.json", CheckpointNotFoundError, "what it lies in is an Orbax checkpoint")


def test_two_checkpoints_in_one(sharded: Path) -> None:
    """A whole file beside shards of the same name is ambiguous."""
    write_file(sharded / "model.safetensors", LEAF)

    refuse(sharded, CheckpointNotFoundError, "holds two checkpoints: `model.safetensors`, and the shards")
    with open_reader(sharded / "model.safetensors") as reader:
        assert reader.files == ("model.safetensors",)


def test_text_without_weights(tmp_path: Path) -> None:
    """A text file with no weights beside it is refused by name."""
    (tmp_path / "config.json").write_text("{}")

    refuse(
        tmp_path / "config.json", CheckpointNotFoundError, "config.json` is no safetensors file, and none is beside it"
    )


LOOKALIKES = {
    "zip": (b"PK\x03\x04\x14\x00\x08\x08", "is a zip archive"),
    "pickle": (b"\x80\x02}q\x00(X\x01\x00", "is a Python pickle, as `torch.save`"),
    "pickle 4": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00", "is a Python pickle"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "is a GGUF file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\x00", "is an HDF5 file"),
    "npy": (b"\x93NUMPY\x01\x00", "is a single numpy array"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "is gzip-compressed"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00\x00\x00\x00", "is zstd-compressed"),
    "web page": (b"<!DOCTYPE html><html>", "is a web page"),
    "html": (b"<html><body>", "is a web page"),
    "json": (b'{"weight_map": {}}', "is JSON text"),
    "zeros": (bytes(600), "is nothing but zero bytes"),
}


@pytest.mark.parametrize(("start", "message"), LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_lookalikes(tmp_path: Path, start: bytes, message: str) -> None:
    """A file of another format is told by name."""
    (tmp_path / "m.safetensors").write_bytes(start)

    refuse(tmp_path / "m.safetensors", CheckpointNotFoundError, message)


@pytest.mark.parametrize("length", [0x280, 0x8002, 0x38000 + 0x80])
def test_header_lengths_that_look_like_a_pickle(tmp_path: Path, length: int) -> None:
    """A header whose length spells the mark of another format is read all the same."""
    text = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "m.safetensors").write_bytes(put_together(text + b" " * (length - len(text)), b"x"))

    with open_reader(tmp_path / "m.safetensors") as reader:
        assert len(reader.specs()) == 1


def test_lfs_pointer(tmp_path: Path) -> None:
    """A Git LFS pointer is told, with the size of what it points to."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n"
    (tmp_path / "m.safetensors").write_text(pointer)

    refuse(tmp_path, LfsPointerError, "is a Git LFS pointer to 548,105,171 bytes, not the file")


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (b"", TruncatedFileError, "is empty"),
        (b"abc", TruncatedFileError, "has 3 bytes, fewer than the 8"),
        (
            struct.pack("<Q", 100_000_001) + b"{}",
            HeaderError,
            "states a header of 100,000,001 bytes, more than the 100,000,000",
        ),
        (b"\xff" * 8, HeaderError, "states a header of 18,446,744,073,709,551,615 bytes"),
        (struct.pack("<Q", 900) + b"{}", TruncatedFileError, "states a header of 900 bytes, 2 are there"),
        (
            put_together({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"xy"),
            TruncatedFileError,
            "2 are there",
        ),
        (put_together("{}", b"xy"), UncoveredBytesError, "2 trailing bytes"),
        (put_together("x"), HeaderError, "is not JSON"),
    ],
)
def test_damaged_files(tmp_path: Path, raw: bytes, error: type[CheckpointError], message: str) -> None:
    """A damaged file is refused by its path."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)

    refuse(path, error, message)
    refuse(path, error, str(path))


def test_not_a_file(tmp_path: Path) -> None:
    """A pipe or a directory in place of a file is refused, without waiting."""
    os.mkfifo(tmp_path / "pipe.safetensors")
    refuse(tmp_path / "pipe.safetensors", UnreadableFileError, "is a pipe or a device, expected a regular file")
    refuse(Path("/dev/null"), UnreadableFileError, "is a pipe or a device")
    sharded = write_sharded(tmp_path / "s", {"model-1.safetensors": LEAF})
    (sharded / "model-1.safetensors").unlink()
    (sharded / "model-1.safetensors").mkdir()
    refuse(sharded, UnreadableFileError, "`model-1.safetensors` is a directory, expected a regular file")


def test_refused_by_the_system(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses becomes an error with a hint."""

    def deny(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    def exhaust(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", deny)
    refuse(single, UnreadableFileError, "model.safetensors` cannot be read: permission denied")
    monkeypatch.setattr(os, "open", exhaust)
    refuse(single, UnreadableFileError, "cannot be read: too many open files")


def test_io_error_while_reading(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails while the header or a leaf is read is reported as such."""

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with open_reader(single) as reader, monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fail)
        with pytest.raises(UnreadableFileError, match="cannot be read: input/output error"):
            reader.read_into(PATH, 0, memoryview(bytearray(8)))
    monkeypatch.setattr(os, "pread", fail)
    refuse(single, UnreadableFileError, "cannot be read: input/output error")


def test_missing_shard(sharded: Path) -> None:
    """A shard that is not there is named, with the index that names it."""
    (sharded / "model-2.safetensors").unlink()

    refuse(sharded, ShardMismatchError, "names the shard `model-2.safetensors`, which is not in")


def test_shards_of_other_versions(sharded: Path) -> None:
    """A shard with other leaves than the index says is refused."""
    write_file(sharded / "model-2.safetensors", {"c": ("U8", [1], b"x")})

    refuse(sharded, ShardMismatchError, "says that `b` is in `model-2.safetensors`, but it is not there")


def test_damaged_manifest(tmp_path: Path) -> None:
    """A damaged manifest spares reading, and is refused by whoever asks for it."""
    write_file(tmp_path / "m.safetensors", LEAF, {"tiecli": "rubbish", "k": "v"})

    with open_reader(tmp_path) as reader:
        assert reader.metadata() == {"k": "v"}
        with pytest.raises(ManifestError, match="the manifest is not JSON"):
            reader.manifest()


def test_manifest_that_is_no_text(sharded: Path) -> None:
    """An index may hold anything; a manifest in it must be a string."""
    index = sharded / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["metadata"]["tiecli"] = {"a": 1}
    index.write_text(json.dumps(document))

    with (
        open_reader(sharded) as reader,
        pytest.raises(ManifestError, match=r'the manifest is {"a": 1}, expected a string'),
    ):
        reader.manifest()


def test_config_that_is_not_utf8(single: Path) -> None:
    """A text that is none is refused by name."""
    (single / "config.json").write_bytes(b"\xff")

    with (
        open_reader(single) as reader,
        pytest.raises(UnreadableFileError, match=r"`config\.json` is not UTF-8: byte 0"),
    ):
        reader.text("config.json")


def test_stored_bytes(single: Path) -> None:
    """Extents and `read_into` give the very bytes, from any place on."""
    buffer = bytearray(4)
    with open_reader(single) as reader:
        extent = reader.extent(PATH)
        reader.read_into(PATH, 3, memoryview(buffer))

        assert os.pread(extent.descriptor, extent.nbytes, extent.offset) == b"12345678"
        assert bytes(buffer) == b"4567"
        with pytest.raises(ValueError, match="bytes 6 to 10 of a leaf that has 8"):
            reader.read_into(PATH, 6, memoryview(buffer))
        with pytest.raises(LeafNotFoundError, match="`absent` is not stored in"):
            reader.extent(KeyPath(("absent",)))


def test_how_leaves_are_stored(sharded: Path) -> None:
    """Every leaf lies as it is, in one piece of its own, in the file that the index says."""
    with open_reader(sharded) as reader:
        assert reader.format == "safetensors"
        assert reader.describe() == ""
        assert reader.other_nodes == ()
        assert reader.storage(PATH) == LeafStorage("model-1.safetensors", 8)
        assert not reader.shares_bytes(PATH, KeyPath(("b",)))
        with pytest.raises(LeafNotFoundError, match="`absent` is not stored in"):
            reader.storage(KeyPath(("absent",)))


@pytest.mark.parametrize("selection", [Selection(step=0), Selection(item="params")])
def test_a_part_of_what_has_no_parts(single: Path, selection: Selection) -> None:
    """A step or an item is refused where there are none, not ignored."""
    with pytest.raises(UsageError, match="is a safetensors checkpoint, which has no steps and no items"):
        open_reader(single, selection)


def test_source_that_changes(single: Path) -> None:
    """A file that grows, shrinks or is written to while it is open is noticed."""
    path = single / "model.safetensors"
    with open_reader(single) as reader:
        reader.check_unchanged()
        os.utime(path, ns=(0, 0))
        with pytest.raises(SourceChangedError, match="changed while it was read: it was modified"):
            reader.check_unchanged()
        size = path.stat().st_size
        os.truncate(path, size - 5)
        with pytest.raises(SourceChangedError, match=f"it had {size:,} bytes and has {size - 5:,}"):
            reader.check_unchanged()
        with pytest.raises(SourceChangedError, match=f"it ends at byte {size - 5:,} now"):
            reader.read_into(KeyPath(("b",)), 0, memoryview(bytearray(3)))


def test_closes_what_it_opened(single: Path, sharded: Path) -> None:
    """No descriptor stays open, also when opening fails half-way."""
    before = len(os.listdir("/proc/self/fd"))
    reader = open_reader(single)
    reader.close()
    reader.close()
    (sharded / "model-2.safetensors").write_bytes(b"")
    with pytest.raises(TruncatedFileError, match="is empty"):
        open_reader(sharded)

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "box",
    [
        ((0, 7), (0, 11), (0, 13)),
        ((2, 5), (0, 11), (0, 13)),
        ((2, 3), (4, 9), (0, 13)),
        ((0, 7), (3, 4), (5, 6)),
        ((1, 6), (2, 10), (3, 12)),
        ((1, 6), (2, 10), (3, 4)),
        ((3, 3), (0, 11), (0, 13)),
    ],
)
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E5M2", "BOOL", "C64"])
def test_blocks(tmp_path: Path, dtype: str, box: tuple[tuple[int, int], ...]) -> None:
    """A block is what slicing the whole leaf gives, in its own dtype, C-ordered."""
    itemsize = DTYPES[dtype].bits // 8
    raw = np.random.default_rng(0).integers(0, 2, (7, 11, 13, itemsize), np.uint8)
    (tmp_path / "m.safetensors").write_bytes(
        put_together({"w": {"dtype": dtype, "shape": [7, 11, 13], "data_offsets": [0, raw.size]}}, raw.tobytes())
    )

    with open_reader(tmp_path) as reader:
        block = reader.read_block(KeyPath(("w",)), box)

    assert block.dtype.name == DTYPES[dtype].numpy_name
    assert block.flags.c_contiguous
    assert block.tobytes() == raw[tuple(slice(*span) for span in box)].tobytes()


def test_large_gappy_block(tmp_path: Path) -> None:
    """A block whose rows lie in a span longer than the buffer is read in turns."""
    whole = np.arange(1500 * 1024, dtype=np.uint32).reshape(1500, 1024)
    (tmp_path / "m.safetensors").write_bytes(
        put_together({"w": {"dtype": "U32", "shape": [1500, 1024], "data_offsets": [0, whole.nbytes]}}, whole.tobytes())
    )

    with open_reader(tmp_path) as reader:
        block = reader.read_block(KeyPath(("w",)), ((1, 1499), (100, 900)))

    assert np.array_equal(block, whole[1:1499, 100:900])


def test_scalar_and_packed_blocks(tmp_path: Path) -> None:
    """A scalar has one block; elements smaller than a byte have none."""
    write_file(tmp_path / "m.safetensors", {"s": ("F64", [], struct.pack("<d", 1.5)), "p": ("F4", [2], b"x")})

    with open_reader(tmp_path) as reader:
        assert reader.read_block(KeyPath(("s",)), ()) == np.float64(1.5)
        with pytest.raises(TransformMismatchError, match="`p` holds F4, whose elements are smaller than a byte"):
            reader.read_block(KeyPath(("p",)), ((0, 2),))
        with pytest.raises(ValueError, match=r"\(\(0, 2\),\) is no box of `s`"):
            reader.read_block(KeyPath(("s",)), ((0, 2),))
