"""Database: every key of an OCDBT database, and where its value lies."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.ocdbt.cursor import Allowance, Cursor, refuse
from tiecli.checkpoints.ocdbt.frames import NODE, open_frame
from tiecli.checkpoints.ocdbt.manifest import NAME, parse_manifest
from tiecli.checkpoints.ocdbt.nodes import NodeReference, Value, decode_interior, decode_leaf
from tiecli.checkpoints.storedfile import open_regular, unreadable
from tiecli.errors import CheckpointNotFoundError, DatabaseError

__all__ = ["Database", "Value", "read_database"]

# A manifest has some hundred bytes, and never more than the versions and the names of their files need.
_LARGEST_MANIFEST = 1 << 26


class Database(NamedTuple):
    """An OCDBT database.

    Attributes:
        values: Where the value of each key lies, in the order of the keys' bytes.
    """

    values: Mapping[str, Value]


def read_database(directory: Path, label: str) -> Database:
    """Reads the newest version of a database; no value but those that stand in the tree.

    Whether the files of the values are there, and as long as they must be, is not looked at.

    Args:
        directory: Where its manifest stands.
        label: What errors call the directory.

    Raises:
        DatabaseError: The manifest or a node is missing or damaged.
        UnsupportedCheckpointError: It is of a kind that tiecli does not read.
        UnreadableFileError: The system refuses to read a file.
    """
    collecting = gc.isenabled()
    # A database is many thousand tuples and no cycle: collecting doubles the time.
    gc.disable()
    try:
        return Database(_read_values(directory, label))
    finally:
        if collecting:
            gc.enable()


def _read_values(directory: Path, label: str) -> dict[str, Value]:
    allowance = Allowance()
    called = f"`{label}/{NAME}`"
    root = parse_manifest(_read_manifest(directory, label), called, allowance)
    values: dict[str, Value] = {}
    if root is None:
        return values
    last = b""
    waiting = [root]
    while waiting:
        reference = waiting.pop()
        cursor = _open_node(directory, label, reference, allowance)
        if reference.height:
            below = decode_interior(cursor, reference.file.base, reference.prefix, reference.height)
            _check_first(cursor, reference, below[0].first)
            waiting.extend(reversed(below))
            continue
        keys, found = decode_leaf(cursor, reference.file.base, reference.prefix)
        _check_first(cursor, reference, keys[0])
        if values and keys[0] <= last:
            cursor.refuse("its keys are out of order with those of the node before")
        last = keys[-1]
        try:
            values.update(zip(map(bytes.decode, keys), found, strict=True))
        except UnicodeDecodeError as error:
            cursor.refuse(f"a key is not UTF-8: {error.object[:80]!r}")
    return values


def _check_first(cursor: Cursor, reference: NodeReference, first: bytes) -> None:
    if first < reference.first:
        cursor.refuse(f"its first key comes before `{reference.first.decode(errors='replace')}`, where it has to begin")


def _read_manifest(directory: Path, label: str) -> bytes:
    name = f"{label}/{NAME}"
    try:
        descriptor, status = open_regular(directory / NAME, name)
    except CheckpointNotFoundError as error:
        raise DatabaseError(
            f"`{name}` is missing, so that no array of the checkpoint can be found",
            "Copy the checkpoint again, all of its files; or take another step of the run.",
        ) from error
    try:
        if status.st_size > _LARGEST_MANIFEST:
            refuse(f"`{name}`", f"it has {status.st_size:,} bytes, expected {_LARGEST_MANIFEST:,} or fewer")
        return _read_bytes(descriptor, 0, status.st_size, name)
    finally:
        os.close(descriptor)


def _open_node(directory: Path, label: str, reference: NodeReference, allowance: Allowance) -> Cursor:
    name = f"{label}/{reference.file.name}"
    called = f"the node at byte {reference.offset:,} of `{name}`"
    allowance.spend_node(called)
    try:
        descriptor, status = open_regular(directory / reference.file.name, name)
    except CheckpointNotFoundError as error:
        raise DatabaseError(
            f"`{name}` is missing, which holds a node of the database",
            "Copy the checkpoint again, all of its files; or take another step of the run.",
        ) from error
    try:
        end = reference.offset + reference.nbytes
        if end > status.st_size:
            refuse(called, f"it ends at byte {end:,}, the file has {status.st_size:,} bytes")
        allowance.spend(reference.nbytes, called)
        frame = _read_bytes(descriptor, reference.offset, reference.nbytes, name)
    finally:
        os.close(descriptor)
    cursor = open_frame(frame, NODE, called, allowance)
    height = cursor.read_byte()
    if height != reference.height:
        cursor.refuse(f"it is of height {height}, expected {reference.height}")
    return cursor


def _read_bytes(descriptor: int, offset: int, nbytes: int, name: str) -> bytes:
    raw = bytearray()
    try:
        while len(raw) < nbytes and (piece := os.pread(descriptor, nbytes - len(raw), offset + len(raw))):
            raw += piece
    except OSError as error:
        raise unreadable(name, error) from error
    return bytes(raw)
