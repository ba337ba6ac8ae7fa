"""Joining: one database over those that the processes of a save wrote, which is the last act of that save."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.writing import encode_database
from tiecli.checkpoints.orbax.directories import DATABASE, PROCESS, list_directory
from tiecli.errors import DatabaseError


def list_processes(item: Path) -> tuple[str, ...]:
    """Lists the directories in which the processes of a save put their databases, in the order of their numbers.

    Raises:
        CheckpointNotFoundError: The item is not there.
        UnreadableFileError: The system refuses.
    """
    names = (name for name in list_directory(item).directories if name.startswith(PROCESS))
    return tuple(sorted(names, key=lambda name: (len(name), name)))


def join_values(item: Path) -> Mapping[str, Value]:
    """Finds where the values of all processes lie, as seen from the item.

    Raises:
        DatabaseError: There is no database of a process, one is damaged, or two processes wrote
            different values under one key.
        UnsupportedCheckpointError: One is of a kind that tiecli does not read.
        LfsPointerError: A file of one is a Git LFS pointer.
        UnreadableFileError: The system refuses.
    """
    joined: dict[str, Value] = {}
    processes = list_processes(item)
    if not processes:
        raise DatabaseError(f"`{item}` holds no database of any process", "Take another step of the run.")
    for process in processes:
        for key, value in read_database(item / process, f"{item}/{process}").values.items():
            placed = value._replace(file=f"{process}/{value.file}") if value.file else value
            if joined.setdefault(key, placed) != placed:
                raise DatabaseError(
                    f"two processes wrote `{key}` of `{item}`, and not the same", "Take another step of the run."
                )
    return joined


def join_databases(item: Path) -> Mapping[str, bytes]:
    """Encodes the database that makes an item of the databases of its processes; their values stay where they are.

    The same databases give the same bytes.

    Args:
        item: The directory that lacks `manifest.ocdbt`.

    Returns:
        The files to write, by their names within the item, in the order in which they are to
        appear: what the last one refers to is there by then.

    Raises:
        CheckpointError: As for `join_values`.
    """
    encoded = encode_database(join_values(item))
    nodes = {encoded.node_file: encoded.nodes} if encoded.frames else {}
    return {**nodes, DATABASE: encoded.manifest}
