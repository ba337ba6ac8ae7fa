"""Damages to Orbax checkpoints, for the tests of bad input: what a failed copy, a bad disk or a hasty hand leaves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.writing import encode_database

FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
# Equal leaves of the fixtures `pytree`, `files-zarr2` and `files-zarr3`, the last one transposed.
EMBED = "params.token_embedder.embedding"
DRAFT = "drafter.token_embedder.embedding"
HEAD = "params.decoder.logits_dense.kernel"
ENTRY = "('params', 'token_embedder', 'embedding')"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n"

Act = Callable[[Path], object]


class Damage(NamedTuple):
    """One way to spoil an item.

    Attributes:
        act: Does it, given the item.
        code: The error that commands then give.
        words: A part of its message: what was found, or what was expected.
    """

    act: Act
    code: str
    words: str


def find_values(item: Path) -> dict[str, Value]:
    """Where the values of an item's database lie."""
    return dict(read_database(item, "the test").values)


def find_files(item: Path) -> list[Path]:
    """The data files that hold values of leaves."""
    return sorted({item / value.file for value in find_values(item).values() if value.file})


def find_node(item: Path) -> Path:
    """The data file that holds the nodes of the database."""
    (found,) = {*item.glob("d/*")} - {*find_files(item)}
    return found


def rewrite(item: Path, change: Callable[[dict[str, Value]], object]) -> None:
    """Changes what the database of an item says, checksums right."""
    values = find_values(item)
    change(values)
    encoded = encode_database(values)
    (item / "manifest.ocdbt").write_bytes(encoded.manifest)
    (item / encoded.node_file).write_bytes(encoded.nodes)


def put_inline(item: Path, key: str, raw: bytes) -> None:
    """Replaces a value by one that stands in the database itself."""
    rewrite(item, lambda values: values.update({key: Value("", 0, len(raw), raw)}))


def edit(file: Path, change: Callable[[Any], object]) -> None:
    """Changes a JSON file."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def flip(file: Path, at: int) -> None:
    """Flips one bit."""
    raw = bytearray(file.read_bytes())
    raw[at] ^= 0x10
    file.write_bytes(raw)


def flip_value(item: Path, key: str, at: int) -> None:
    """Flips one bit of a stored value."""
    value = find_values(item)[key]
    flip(item / value.file, value.offset + (at if at >= 0 else value.nbytes + at))


def cut(file: Path, kept: float = 0.5) -> None:
    """Keeps the first part of a file."""
    os.truncate(file, int(file.stat().st_size * kept))


def describe(keys: tuple[str, ...], value_type: str = "jax.Array") -> dict[str, Any]:
    """An entry of `_METADATA`."""
    return {
        "key_metadata": [{"key": key, "key_type": 2} for key in keys],
        "value_metadata": {"value_type": value_type, "skip_deserialize": False},
    }


def on_tree(change: Callable[[Any], object]) -> Act:
    """A change of `_METADATA`."""
    return lambda item: edit(item / "_METADATA", change)


def each(files: Callable[[Path], list[Path]], act: Act) -> Act:
    """The same for several files."""
    return lambda item: [act(file) for file in files(item)]


def replace_by_directory(file: Path) -> None:
    """Puts a directory in a file's place."""
    file.unlink()
    file.mkdir()


def to_temporary(item: Path) -> None:
    """Names a checkpoint as Orbax does while it saves."""
    item.rename(item.with_name(f"{item.name}.orbax-checkpoint-tmp"))


_STRANGER = describe(("a",))
_TWIN = describe(("params", "token_embedder.embedding"))

# Refused by every command, before any value is read.
REFUSED: dict[str, Damage] = {
    "data file truncated": Damage(each(find_files, cut), "MissingChunk", "is cut short: `"),
    "data file empty": Damage(each(find_files, lambda file: cut(file, 0)), "MissingChunk", "and it has 0"),
    "data file missing": Damage(each(find_files, Path.unlink), "MissingChunk", "is missing: `"),
    "data file a directory": Damage(each(find_files, replace_by_directory), "MissingChunk", "is no regular file"),
    "data file a pointer": Damage(each(find_files, lambda file: file.write_text(POINTER)), "LfsPointer", "123,456"),
    "chunk gone": Damage(
        lambda item: rewrite(item, lambda values: values.pop(f"{EMBED}/0.0")), "MissingChunk", f"`{EMBED}/0.0`"
    ),
    "chunk empty": Damage(lambda item: put_inline(item, f"{EMBED}/0.0", b""), "MissingChunk", "0 bytes, expected more"),
    "array gone": Damage(
        lambda item: rewrite(item, lambda values: values.pop(f"{EMBED}/.zarray")), "OrbaxMetadata", f"`{EMBED}/.zarray`"
    ),
    "leaf gone": Damage(
        lambda item: rewrite(item, lambda values: [values.pop(f"{EMBED}/{key}") for key in (".zarray", "0.0")]),
        "OrbaxMetadata",
        f"names the leaf `{EMBED}`",
    ),
    "array not JSON": Damage(
        lambda item: put_inline(item, f"{EMBED}/.zarray", b"{x}"), "OrbaxMetadata", f"`{EMBED}/.zarray` is not JSON"
    ),
    "array of a strange codec": Damage(
        lambda item: rewrite(item, lambda values: values.update(_recode(values, b'"zstd"', b'"blosc"'))),
        "UnsupportedCheckpoint",
        "blosc",
    ),
    "array larger than its chunks": Damage(
        lambda item: rewrite(item, lambda values: values.update(_recode(values, b'shape":[32,', b'shape":[64,'))),
        "MissingChunk",
        f"`{EMBED}/1.0` is missing",
    ),
    "manifest empty": Damage(lambda item: cut(item / "manifest.ocdbt", 0), "Database", "it has 0 bytes"),
    "manifest cut": Damage(lambda item: cut(item / "manifest.ocdbt"), "Database", "manifest.ocdbt` is damaged"),
    "manifest flipped": Damage(lambda item: flip(item / "manifest.ocdbt", 60), "Database", "its checksum is"),
    "manifest of zeros": Damage(
        lambda item: (item / "manifest.ocdbt").write_bytes(bytes(200)), "Database", "begins with `00000000`"
    ),
    "manifest a pointer": Damage(lambda item: (item / "manifest.ocdbt").write_text(POINTER), "LfsPointer", "123,456"),
    "node flipped": Damage(lambda item: flip(find_node(item), 100), "Database", "its checksum is"),
    "node cut": Damage(lambda item: cut(find_node(item)), "Database", "is truncated: a node"),
    "node missing": Damage(lambda item: find_node(item).unlink(), "Database", "is missing: a node"),
    "tree missing": Damage(lambda item: (item / "_METADATA").unlink(), "UnfinishedCheckpoint", "but no `_METADATA`"),
    "tree cut": Damage(lambda item: cut(item / "_METADATA"), "OrbaxMetadata", "`_METADATA` is not JSON, or is cut"),
    "tree empty": Damage(lambda item: cut(item / "_METADATA", 0), "OrbaxMetadata", "`_METADATA` is empty"),
    "tree a list": Damage(lambda item: (item / "_METADATA").write_text("[]"), "OrbaxMetadata", "no JSON object"),
    "tree without leaves": Damage(on_tree(lambda tree: tree.pop("tree_metadata")), "OrbaxMetadata", "`tree_metadata`"),
    "entry damaged": Damage(on_tree(lambda tree: tree["tree_metadata"][ENTRY].clear()), "OrbaxMetadata", "`('params'"),
    "entry of a leaf that is not there": Damage(
        on_tree(lambda tree: tree["tree_metadata"].update({"('a',)": _STRANGER})), "OrbaxMetadata", "no `a/.zarray`"
    ),
    "two leaves of one name": Damage(
        on_tree(lambda tree: tree["tree_metadata"].update({"('params', 'token_embedder.embedding')": _TWIN})),
        "NameCollision",
        f"are both stored as `{EMBED}`",
    ),
    "another version of zarr": Damage(on_tree(lambda tree: tree.update(use_zarr3=True)), "OrbaxMetadata", "zarr.json`"),
    "no database, it says": Damage(on_tree(lambda tree: tree.update(use_ocdbt=False)), "OrbaxMetadata", ".zarray`"),
    "a manifest that is none": Damage(
        on_tree(lambda tree: tree.update(custom_metadata={"tiecli": 3})), "Manifest", "manifest.schema"
    ),
    "saving": Damage(to_temporary, "UnfinishedCheckpoint", ".orbax-checkpoint-tmp` is a save that never ended"),
    "never committed": Damage(
        lambda item: [
            (item / "commit_success.txt").unlink(),
            edit(item / "_CHECKPOINT_METADATA", lambda step: step.update(commit_timestamp_nsecs=None)),
        ],
        "UnfinishedCheckpoint",
        "never committed",
    ),
}

# The same where every chunk is a file.
REFUSED_FILES: dict[str, Damage] = {
    "array missing": Damage(lambda item: (item / EMBED / ".zarray").unlink(), "OrbaxMetadata", f"`{EMBED}/.zarray`"),
    "array empty": Damage(lambda item: cut(item / EMBED / ".zarray", 0), "OrbaxMetadata", "is empty"),
    "array cut": Damage(lambda item: cut(item / EMBED / ".zarray"), "OrbaxMetadata", f"`{EMBED}/.zarray` is not JSON"),
    "chunk missing": Damage(lambda item: (item / EMBED / "0.0").unlink(), "MissingChunk", f"`{EMBED}/0.0` is missing"),
    "chunk empty": Damage(lambda item: cut(item / EMBED / "0.0", 0), "MissingChunk", "0 bytes, expected more"),
    "chunk a directory": Damage(
        lambda item: replace_by_directory(item / EMBED / "0.0"), "MissingChunk", f"`{EMBED}/0.0` is missing"
    ),
    "leaf missing": Damage(lambda item: shutil.rmtree(item / EMBED), "OrbaxMetadata", f"names the leaf `{EMBED}`"),
    "tree missing": Damage(lambda item: (item / "_METADATA").unlink(), "UnfinishedCheckpoint", "but no `_METADATA`"),
}

# Seen only by commands that read the leaf.
UNREADABLE: dict[str, Damage] = {
    "first byte of a chunk": Damage(lambda item: flip_value(item, f"{EMBED}/0.0", 0), "Chunk", f"`{EMBED}/0.0`"),
    "last byte of a chunk": Damage(lambda item: flip_value(item, f"{EMBED}/0.0", -1), "Chunk", "do not decode"),
    "another leaf's chunk": Damage(
        lambda item: rewrite(item, lambda values: values.update({f"{EMBED}/0.0": values[_SMALL]})), "Chunk", EMBED
    ),
}
UNREADABLE_FILES: dict[str, Damage] = {
    "first byte of a chunk": Damage(lambda item: flip(item / EMBED / "0.0", 0), "Chunk", f"`{EMBED}/0.0`"),
    "chunk cut": Damage(lambda item: cut(item / EMBED / "0.0"), "Chunk", f"`{EMBED}/0.0`"),
}
_SMALL = "params.decoder.decoder_norm.scale/0"

# Files that stock Orbax restores without, be it only into given arrays.
NEEDLESS: dict[str, Act] = {
    "_sharding": lambda item: (item / "_sharding").unlink(),
    "array_metadatas": lambda item: shutil.rmtree(item / "array_metadatas"),
    "array_metadatas/process_0": lambda item: (item / "array_metadatas/process_0").unlink(),
    "_CHECKPOINT_METADATA": lambda item: (item / "_CHECKPOINT_METADATA").unlink(),
    "commit_success.txt": lambda item: (item / "commit_success.txt").unlink(),
    "a leaf in _sharding": lambda item: edit(item / "_sharding", lambda leaves: leaves.pop(next(iter(leaves)))),
    "a leaf in array_metadatas": lambda item: edit(
        item / "array_metadatas/process_0", lambda document: document["array_metadatas"].pop()
    ),
}

# Files beside the leaves, and what is done to them.
SIDE_FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "sharding cut": ("_sharding", cut),
    "sharding a list": ("_sharding", lambda file: file.write_text("[]")),
    "arrays cut": ("array_metadatas/process_0", cut),
    "arrays without a list": ("array_metadatas/process_0", lambda file: file.write_text("{}")),
    "step cut": ("_CHECKPOINT_METADATA", cut),
    "step a list": ("_CHECKPOINT_METADATA", lambda file: file.write_text("[]")),
}


def _recode(values: dict[str, Value], old: bytes, new: bytes) -> dict[str, Value]:
    raw = values[f"{EMBED}/.zarray"].inline
    assert old in raw
    return {f"{EMBED}/.zarray": Value("", 0, len(raw.replace(old, new)), raw.replace(old, new))}
