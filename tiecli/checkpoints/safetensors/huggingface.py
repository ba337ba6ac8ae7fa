"""Hugging Face directories: which files of a path make up one checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tiecli.checkpoints.safetensors.shardindex import SUFFIX, ShardIndex, find_emptied, parse_index
from tiecli.checkpoints.storedfile import read_text_file, unreadable
from tiecli.errors import CheckpointError, CheckpointNotFoundError

_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".gguf", ".msgpack", ".npz", ".onnx")
BESIDE = (".json", ".txt", ".md", ".jinja", ".model", ".py", ".yaml", ".yml")
_ORBAX = ("_METADATA", "_CHECKPOINT_METADATA")


@dataclass(frozen=True, slots=True)
class Location:
    """The files of one checkpoint.

    Attributes:
        root: The file or directory that is the checkpoint.
        directory: Where its files lie.
        shards: The safetensors files, by name within the directory.
        index: Which shard holds what; None for a single file.
    """

    root: Path
    directory: Path
    shards: tuple[str, ...]
    index: ShardIndex | None = None


def locate(path: Path) -> Location:
    """Finds the checkpoint that a path belongs to.

    A directory is the checkpoint in it; a shard or an index stands for all of its
    checkpoint, `config.json` and its like for their directory; a safetensors file that no
    index lists stands for itself.

    Raises:
        CheckpointNotFoundError: There is none, or more than one.
        IndexFileError: The index is damaged.
        UnreadableFileError: The system refuses.
    """
    try:
        is_directory = path.is_dir()
        if not is_directory and not path.exists():
            raise FileNotFoundError(2, "no such file or directory")
    except (OSError, ValueError) as error:
        problem = error if isinstance(error, OSError) else OSError(22, str(error))
        raise unreadable(str(path), problem) from error
    if is_directory:
        return _locate_in(path, path)
    directory = path.parent
    if path.name.endswith(SUFFIX):
        return _from_index(directory, path.name)
    if path.suffix.lower() in BESIDE:
        return _locate_in(directory, path)
    for name in _names(directory, SUFFIX):
        if _lists(directory, name, path.name):
            return _from_index(directory, name)
    return Location(path, directory, (path.name,))


def _lists(directory: Path, index_name: str, shard: str) -> bool:
    """Whether an index lists a shard; a damaged one beside a file that it may not concern lists nothing."""
    try:
        raw = read_text_file(directory / index_name, index_name)
        return raw is not None and shard in parse_index(raw, index_name).shards
    except CheckpointError:
        if raw_mentions(directory / index_name, shard):
            raise
        return False


def raw_mentions(path: Path, name: str) -> bool:
    """Whether the bytes of a file hold a name, readable as JSON or not."""
    try:
        return os.fsencode(name) in path.read_bytes()
    except OSError:
        return False


def _names(directory: Path, suffix: str) -> list[str]:
    try:
        return sorted(p.name for p in directory.iterdir() if p.name.endswith(suffix) and not p.name.startswith("."))
    except PermissionError:
        # A file may be readable in a directory that cannot be listed.
        return []


def _locate_in(directory: Path, given: Path) -> Location:
    try:
        entries = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise unreadable(str(directory), error) from error
    visible = [name for name in entries if not name.startswith(".")]
    indexes = [name for name in visible if name.endswith(SUFFIX)]
    stored = [name for name in visible if name.endswith(".safetensors") and not (directory / name).is_dir()]
    if len(indexes) > 1:
        raise CheckpointNotFoundError(
            f"`{directory}` holds several checkpoints: {_list(indexes)}", f"Name one: `{directory / indexes[0]}`."
        )
    if indexes:
        location = _from_index(directory, indexes[0])
        single = indexes[0].removesuffix(".index.json")
        if single in stored and single not in location.shards:
            raise CheckpointNotFoundError(
                f"`{directory}` holds two checkpoints: `{single}`, and the shards of `{indexes[0]}`",
                f"Name one: `{directory / single}` or `{directory / indexes[0]}`.",
            )
        return location
    if len(stored) == 1:
        return Location(directory, directory, (stored[0],))
    if stored:
        raise CheckpointNotFoundError(
            f"`{directory}` holds {len(stored)} safetensors files and no index that joins them: {_list(stored)}",
            f"Name one: `{directory / stored[0]}`; or fetch the missing `model{SUFFIX}`.",
        )
    raise _nothing_in(directory, entries, given)


def _nothing_in(directory: Path, entries: list[str], given: Path) -> CheckpointNotFoundError:
    if any(name in entries for name in _ORBAX):
        return CheckpointNotFoundError(
            f"`{given}` is no safetensors file, and what it lies in is an Orbax checkpoint",
            f"Give the directory: `{directory}`.",
        )
    if given != directory:
        return CheckpointNotFoundError(
            f"`{given}` is no safetensors file, and none is beside it", "Give the file that holds the weights."
        )
    weights = [name for name in entries if name.endswith(_WEIGHTS)]
    if weights:
        return CheckpointNotFoundError(
            f"`{directory}` holds no safetensors file, but {_list(weights)}",
            "Save the weights as safetensors with the library that wrote them, for example `model.save_pretrained`.",
        )
    found = f"only {_list(entries)}" if entries else "it is empty"
    return CheckpointNotFoundError(
        f"`{directory}` holds no safetensors file; {found}", "Give the file or directory that holds the weights."
    )


def _list(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _from_index(directory: Path, name: str) -> Location:
    raw = read_text_file(directory / name, name)
    if raw is None:
        raise CheckpointNotFoundError(f"`{directory / name}` is gone", "Run the command again.")
    index = parse_index(raw, name)
    emptied = tuple(shard for shard in find_emptied(index) if (directory / shard).is_file())
    return Location(directory, directory, index.shards + emptied, index)
