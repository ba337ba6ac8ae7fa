"""Siblings: checkpoints that lie beside one and may hold what optimizers keep for its leaves."""

from __future__ import annotations

from pathlib import Path

from tiecli.checkpoints.orbax.directories import list_directory, list_items
from tiecli.checkpoints.orbax.reader import OrbaxReader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.checkpoints.safetensors.reader import SafetensorsReader
from tiecli.checkpoints.storedfile import reading

_SUFFIX = ".safetensors"
_STATE = "optim"


def list_siblings(reader: CheckpointReader) -> tuple[Path, ...]:
    """Lists the other items of an Orbax step; of safetensors, files beside the weights that are named for optimizers.

    Raises:
        UnreadableFileError: The system refuses to list a directory.
    """
    with reading(str(reader.root)):
        if isinstance(reader, OrbaxReader):
            location = reader.location
            if location.step is None or location.item == location.step:
                return ()
            parts = list_items(location.step, list_directory(location.step))
            return tuple(
                location.step / part.name for part in parts if part.kind == "tree" and part.name != location.item.name
            )
        if not isinstance(reader, SafetensorsReader):
            return ()
        directory = reader.location.directory
        names = sorted(list_directory(directory).files)
        return tuple(
            directory / name
            for name in names
            if name.startswith(_STATE) and name.endswith(_SUFFIX) and name not in reader.files
        )


def find_place(reader: CheckpointReader, written: Path) -> Path:
    """Finds where the leaves of a checkpoint are once it is written elsewhere: there, or in an item below.

    Args:
        reader: The checkpoint.
        written: Where it was written as a whole.
    """
    if isinstance(reader, OrbaxReader) and reader.location.item.is_relative_to(reader.root):
        return written / reader.location.item.relative_to(reader.root)
    return written
