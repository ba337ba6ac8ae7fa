"""Files: reads a manifest or a node off the disk, whole, and says what is missing of it."""

from __future__ import annotations

import os
from pathlib import Path

from tiecli.checkpoints.ocdbt.cursor import refuse
from tiecli.checkpoints.storedfile import open_regular, unreadable
from tiecli.errors import CheckpointNotFoundError, DatabaseError

# Some hundred bytes are usual; the names of the files of all its versions may come to more.
_LARGEST_MANIFEST = 1 << 26

_AGAIN = "Copy the checkpoint again, all of its files; or take another step of the run."


def read_manifest_file(directory: Path, file: str, label: str) -> bytes:
    """Reads a manifest.

    Args:
        directory: Where it stands.
        file: Its name.
        label: What errors call it, quotes not included.

    Raises:
        DatabaseError: It is missing, or far too large.
        LfsPointerError: It is a Git LFS pointer.
        UnreadableFileError: The system refuses to read it.
    """
    try:
        descriptor, status = open_regular(directory / file, label)
    except CheckpointNotFoundError as error:
        raise DatabaseError(f"`{label}` is missing: without it, no array can be found", _AGAIN) from error
    try:
        if status.st_size > _LARGEST_MANIFEST:
            refuse(f"`{label}`", f"it has {status.st_size:,} bytes, expected {_LARGEST_MANIFEST:,} or fewer")
        raw = _read_bytes(descriptor, 0, status.st_size, label)
    finally:
        os.close(descriptor)
    _refuse_pointer(raw, label)
    return raw


def read_node_file(directory: Path, file: str, offset: int, nbytes: int, label: str) -> bytes:
    """Reads a node.

    Args:
        directory: Where the database stands.
        file: Name of the data file.
        offset: The node's first byte.
        nbytes: How many bytes it has.
        label: What errors call the file, quotes not included.

    Raises:
        DatabaseError: The file is missing, or too short.
        LfsPointerError: The file is a Git LFS pointer.
        UnreadableFileError: The system refuses to read it.
    """
    try:
        descriptor, status = open_regular(directory / file, label)
    except CheckpointNotFoundError as error:
        raise DatabaseError(f"`{label}` is missing: a node of the database stands there", _AGAIN) from error
    try:
        if offset + nbytes <= status.st_size:
            return _read_bytes(descriptor, offset, nbytes, label)
        _refuse_pointer(_read_bytes(descriptor, 0, min(512, status.st_size), label), label)
    finally:
        os.close(descriptor)
    raise DatabaseError(
        f"`{label}` is truncated: a node of the database stands at bytes {offset:,} to {offset + nbytes:,}, "
        f"the file has {status.st_size:,} bytes",
        _AGAIN,
    )


def _refuse_pointer(start: bytes, label: str) -> None:
    if start.startswith(b"version https://git-lfs"):
        from tiecli.checkpoints.lookalikes import refuse_lookalike

        refuse_lookalike(start, label)


def _read_bytes(descriptor: int, offset: int, nbytes: int, label: str) -> bytes:
    pieces: list[bytes] = []
    try:
        # A file that became shorter meanwhile gives fewer bytes, and its frame then tells so.
        while nbytes and (piece := os.pread(descriptor, nbytes, offset)):
            pieces.append(piece)
            offset += len(piece)
            nbytes -= len(piece)
    except OSError as error:
        raise unreadable(label, error) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
