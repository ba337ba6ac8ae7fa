"""Surroundings: what lies around the leaves of a checkpoint, and stays behind when they go into another format."""

from __future__ import annotations

from tiecli.checkpoints.orbax.directories import list_directory, list_items
from tiecli.checkpoints.orbax.reader import OrbaxReader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.checkpoints.safetensors.reader import SafetensorsReader
from tiecli.checkpoints.storedfile import reading
from tiecli.checkpoints.wording import list_names


def list_left_behind(reader: CheckpointReader) -> tuple[str, ...]:
    """Words what stays behind, one line each.

    Raises:
        UnreadableFileError: The system refuses to list a directory.
    """
    with reading(str(reader.root)):
        if isinstance(reader, OrbaxReader):
            return _list_parts(reader)
        assert isinstance(reader, SafetensorsReader)
        return _list_files(reader)


def _list_files(reader: SafetensorsReader) -> tuple[str, ...]:
    """Names what lies beside the weights in a directory; a file that was given alone has nothing beside it."""
    if not reader.root.is_dir():
        return ()
    listing = list_directory(reader.root)
    own = {*reader.files, reader.index.name if reader.index else ""}
    others = sorted(name for name in listing.files | listing.directories if name not in own and name[:1] != ".")
    return (f"left behind, since only leaves are converted: {list_names(others)}",) if others else ()


def _list_parts(reader: OrbaxReader) -> tuple[str, ...]:
    location = reader.location
    notices = list(location.notices)
    if location.level == "root":
        notices.append(f"only step {location.step_number} is converted")
    if location.step is not None and location.item != location.step:
        parts = list_items(location.step, list_directory(location.step))
        others = [part.name for part in parts if part.name != location.item.name]
        if others:
            notices.append(f"only the item `{location.item_name}` is converted, not {list_names(others)}")
    return tuple(notices)
