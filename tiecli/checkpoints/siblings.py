"""Siblings: checkpoints that lie beside one and may hold what optimizers keep for its leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tiecli.checkpoints.storedfile import reading

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader

_SUFFIX = ".safetensors"
_STATE = "optim"
# Source: what transformers, accelerate and torch trainers call the pickled state of their optimizers.
_PICKLED = (".pt", ".bin", ".pth", ".ckpt", ".pkl")


def list_siblings(reader: CheckpointReader) -> tuple[Path, ...]:
    """Lists the other items of an Orbax step; of safetensors, files beside the weights that are named for optimizers.

    Raises:
        UnreadableFileError: The system refuses to list a directory.
    """
    with reading(str(reader.root)):
        if reader.format == "orbax":
            return _list_items(reader)
        return tuple(path for path in _list_named(reader, (_SUFFIX,)) if path.name not in reader.files)


def list_pickled(reader: CheckpointReader) -> tuple[Path, ...]:
    """Lists files beside safetensors weights that are named for optimizers and hold pickles, which are never read.

    Raises:
        UnreadableFileError: The system refuses to list a directory.
    """
    if reader.format == "orbax":
        return ()
    with reading(str(reader.root)):
        return _list_named(reader, _PICKLED)


def _list_named(reader: CheckpointReader, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    directory = reader.root if reader.root.is_dir() else reader.root.parent
    names = sorted(path.name for path in directory.iterdir())
    return tuple(directory / name for name in names if name.startswith(_STATE) and name.endswith(suffixes))


def _list_items(reader: CheckpointReader) -> tuple[Path, ...]:
    # Here, since a safetensors checkpoint waits for nothing of Orbax.
    from tiecli.checkpoints.orbax.directories import list_directory, list_items
    from tiecli.checkpoints.orbax.reader import OrbaxReader

    location = reader.location if isinstance(reader, OrbaxReader) else None
    if location is None or location.step is None or location.item == location.step:
        return ()
    parts = list_items(location.step, list_directory(location.step))
    return tuple(location.step / part.name for part in parts if part.kind == "tree" and part.name != location.item.name)


def find_place(reader: CheckpointReader, written: Path) -> Path:
    """Finds where the leaves of a checkpoint are once it is written elsewhere: there, or in an item below.

    Args:
        reader: The checkpoint.
        written: Where it was written as a whole.
    """
    if reader.format != "orbax":
        return written
    from tiecli.checkpoints.orbax.reader import OrbaxReader

    item = reader.location.item if isinstance(reader, OrbaxReader) else reader.root
    return written / item.relative_to(reader.root) if item.is_relative_to(reader.root) else written
