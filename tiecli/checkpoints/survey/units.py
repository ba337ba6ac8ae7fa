"""Units: which checkpoints some paths stand for; a checkpoint is linted whole, whatever file of it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from tiecli.checkpoints.orbax.location import is_orbax
from tiecli.checkpoints.safetensors.shardindex import SUFFIX
from tiecli.errors import CheckpointNotFoundError


class Unit(NamedTuple):
    """One checkpoint, found by its names alone.

    Attributes:
        root: The file or directory that is the checkpoint, as a person would give it.
        format: How it is stored.
        directory: Where its files lie.
        files: Names of its safetensors files, sorted, as far as no index names them; all
            files of a checkpoint without an index.
        index_name: Name of its shard index; None without one, and for Orbax.
    """

    root: Path
    format: Literal["safetensors", "orbax"]
    directory: Path
    files: tuple[str, ...] = ()
    index_name: str | None = None


def find_units(path: Path) -> tuple[Unit, ...]:
    """Finds the checkpoints that a path stands for.

    A file stands for the checkpoint that it is part of; a directory for every checkpoint in
    it and below it.

    Raises:
        CheckpointNotFoundError: There is none.
        UnreadableFileError: The system refuses.
    """
    if path.is_file():
        return (Unit(path, "safetensors", path.parent, (path.name,)),)
    if is_orbax(path):
        return (Unit(path, "orbax", path),)
    names = sorted(entry.name for entry in path.iterdir())
    files = tuple(name for name in names if name.endswith(".safetensors"))
    indexes = [name for name in names if name.endswith(SUFFIX)]
    if indexes:
        return (Unit(path, "safetensors", path, (), indexes[0]),)
    if not files:
        raise CheckpointNotFoundError(f"`{path}` holds no checkpoint", "Give the file or directory that holds one.")
    return (Unit(path, "safetensors", path, files),)
