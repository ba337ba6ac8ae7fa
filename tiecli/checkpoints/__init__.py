"""The door: every read and write of a checkpoint goes through here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tiecli.checkpoints.protocol import Selection
from tiecli.errors import UsageError

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader, CheckpointWriter, Target
    from tiecli.checkpoints.survey.units import Unit


def open_reader(path: str | os.PathLike[str], selection: Selection = Selection()) -> CheckpointReader:
    """Opens a checkpoint: a safetensors file, a Hugging Face directory, an Orbax checkpoint, or any file of one.

    Only headers and metadata are read. Close the reader, or use it as a context manager.

    Args:
        path: Where it is.
        selection: Which part of an Orbax checkpoint is meant.

    Raises:
        CheckpointNotFoundError: Nothing is there, or nothing that is a checkpoint.
        CheckpointError: It is damaged or cannot be read; the class says how.
        UsageError: A part is named of a checkpoint that has no parts.
    """
    from tiecli.checkpoints.safetensors.huggingface import locate
    from tiecli.checkpoints.safetensors.reader import SafetensorsReader
    from tiecli.checkpoints.storedfile import reading

    path = Path(path)
    with reading(str(path)):
        if not path.name.endswith((".safetensors", ".json")):
            from tiecli.checkpoints.orbax.location import is_orbax

            if is_orbax(path):
                from tiecli.checkpoints.orbax.location import locate as locate_item
                from tiecli.checkpoints.orbax.reader import OrbaxReader

                return OrbaxReader(locate_item(path, selection))
        location = locate(path)
        if selection != Selection():
            raise UsageError(
                f"`{path}` is a safetensors checkpoint, which has no steps and no items",
                "Leave out --step and --item.",
            )
        return SafetensorsReader(location)


def open_unit(unit: Unit) -> CheckpointReader:
    """Opens a checkpoint that a survey found: of several in one directory, and shards without an index, too.

    Raises:
        CheckpointError: It is damaged or cannot be read; the class says how.
        UsageError: It has several parts, none of which is the one that is meant.
    """
    if unit.format == "orbax":
        return open_reader(unit.root)
    if unit.index_name is not None:
        return open_reader(unit.directory / unit.index_name)
    from tiecli.checkpoints.safetensors.huggingface import Location
    from tiecli.checkpoints.safetensors.reader import SafetensorsReader

    return SafetensorsReader(Location(unit.root, unit.directory, unit.files))


def open_writer(reader: CheckpointReader, target: Target) -> CheckpointWriter:
    """Starts a new checkpoint made from an open one, in the same format and layout.

    A file becomes a file, a directory a directory. Nothing is visible before `commit`.

    Raises:
        TargetExistsError: Something is at the target.
        TargetIsSourceError: The target is the source, or inside it.
        InPlaceError: The source cannot be replaced where it is.
        WriteFailedError: The system refuses to look at the target.
    """
    from tiecli.checkpoints.safetensors.reader import SafetensorsReader

    if isinstance(reader, SafetensorsReader):
        from tiecli.checkpoints.safetensors.writer import SafetensorsWriter

        return SafetensorsWriter(reader, target)
    from tiecli.checkpoints.orbax.reader import OrbaxReader
    from tiecli.checkpoints.orbax.writer import OrbaxWriter

    if not isinstance(reader, OrbaxReader):
        raise TypeError(f"no writer for {type(reader).__name__}")
    return OrbaxWriter(reader, target)


def check_rewritable(reader: CheckpointReader) -> None:
    """Refuses a checkpoint whose metadata could not follow a change of its leaves, before any leaf is read.

    Raises:
        CheckpointError: A file beside the leaves is damaged, or has no room for a manifest.
    """
    if reader.format == "orbax":
        from tiecli.checkpoints.orbax.originals import check_documents
        from tiecli.checkpoints.orbax.reader import OrbaxReader

        assert isinstance(reader, OrbaxReader)
        check_documents(reader.location, reader.manifest())


def check_target(reader: CheckpointReader, target: Target) -> None:
    """Refuses a target that cannot be meant, before leaves are read for it.

    Raises:
        TargetError: As `open_writer` does; nothing is created.
    """
    with open_writer(reader, target):
        pass


def carries_texts(reader: CheckpointReader) -> bool:
    """Whether text files such as `config.json` are part of the checkpoint, and so can be changed.

    They are when a directory is the checkpoint; one given as a single file goes alone.
    """
    return reader.root.is_dir()
