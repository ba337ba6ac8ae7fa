"""Units: which checkpoints the files of one directory are; each is linted whole, whatever file of it was given."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple

from tiecli.checkpoints.safetensors.huggingface import raw_mentions
from tiecli.checkpoints.safetensors.shardindex import SUFFIX
from tiecli.checkpoints.safetensors.shardnames import read_shard_name

WEIGHTS = ".safetensors"
_ADAPTER, _ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"


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


def list_units(directory: Path, names: Collection[str]) -> tuple[Unit, ...]:
    """Groups the safetensors files of a directory into checkpoints.

    Each index is one, with the files that it names; others beside it are strays, but for an
    adapter and for a whole model of the index's name. Without an index, the numbered files of
    one set are one, and each other file is one. An optimizer's file belongs to the model
    beside it. The directory itself is the root of what is alone in it.

    Args:
        directory: Where they lie.
        names: The names of all files in it.
    """
    visible = sorted(name for name in names if not name.startswith("."))
    weights = [name for name in visible if name.endswith(WEIGHTS)]
    indexes = [name for name in visible if name.endswith(SUFFIX)]
    if indexes:
        alone = len(indexes) == 1
        units = [Unit(directory if alone else directory / it, "safetensors", directory, (), it) for it in indexes]
        others = [name for name in weights if _stands_alone(directory, name, visible)]
        return (*units, *(Unit(directory / name, "safetensors", directory, (name,)) for name in others))
    sets = _group_files(weights)
    if len(sets) == 1:
        return (Unit(directory, "safetensors", directory, sets[0]),)
    return tuple(Unit(directory / files[0], "safetensors", directory, files) for files in sets)


def is_indexed(index: Path, name: str) -> bool:
    """Whether an index, readable or not, mentions a file."""
    return raw_mentions(index, f'"{name}"')


def _stands_alone(directory: Path, name: str, names: Collection[str]) -> bool:
    """Whether a file beside an index is a checkpoint of its own, and no stray."""
    if name == _ADAPTER:
        return _ADAPTER_CONFIG in names
    index = f"{name}.index.json"
    return index in names and not is_indexed(directory / index, name)


def _group_files(weights: list[str]) -> list[tuple[str, ...]]:
    """Groups files that no index names: the numbered ones of a set, and each other by itself."""
    sets: dict[tuple[str, str], list[str]] = {}
    for name in weights:
        part = read_shard_name(name)
        sets.setdefault((part.stem, part.total) if part else (name, ""), []).append(name)
    models = [tuple(files) for (stem, _), files in sets.items() if not stem.startswith("optimizer")]
    return models or [tuple(files) for files in sets.values()]
