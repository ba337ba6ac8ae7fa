"""Data files: those that stored bytes of an Orbax item lie in, opened when first needed and watched for change."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.protocol import Place
from tiecli.checkpoints.storedfile import changed, open_regular, reading, unreadable
from tiecli.errors import MissingChunkError

AGAIN = "Copy the checkpoint again from where it is whole; nothing else can give these values back."


class DataFile(NamedTuple):
    """An open data file, and its state when it was opened."""

    descriptor: int
    status: os.stat_result


class DataFiles:
    """The data files of one item, found by their names within it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[str, DataFile] = {}
        self._lock = Lock()

    def open(self, name: str) -> DataFile:
        """Gives a file, open.

        Raises:
            CheckpointNotFoundError: It is not there.
            UnreadableFileError: The system refuses.
        """
        file = self._open.get(name)
        if file is None:
            # Leaves are read from several threads.
            with self._lock:
                file = self._open.get(name) or DataFile(*open_regular(self.directory / name, name))
                self._open[name] = file
        return file

    def check_holds(self, value: Value, key: str, sizes: dict[str, int]) -> None:
        """Checks that a file is as long as a value in it needs.

        Args:
            value: What the store says.
            key: Its name, for the error.
            sizes: Sizes of files that were looked at before; filled here.

        Raises:
            MissingChunkError: The file is missing, or ends before the value does.
            LfsPointerError: It is a Git LFS pointer.
            UnreadableFileError: The system refuses to look.
        """
        if value.file not in sizes:
            sizes[value.file] = self._measure(value.file, key)
        size = sizes[value.file]
        if size < value.offset + value.nbytes:
            label = str(self.directory / value.file)
            _refuse_pointer(label)
            raise MissingChunkError(
                f"`{label}` is cut short: `{key}` reaches to its byte {value.offset + value.nbytes:,}, "
                f"and it has {size:,}",
                AGAIN,
            )

    def _measure(self, file: str, key: str) -> int:
        path = self.directory / file
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingChunkError(f"`{path}` is missing: `{key}` is stored in it", AGAIN) from error
        except OSError as error:
            raise unreadable(str(path), error) from error
        if not stat.S_ISREG(status.st_mode):
            raise MissingChunkError(f"`{path}` is no regular file, but `{key}` is stored in it", AGAIN)
        return status.st_size

    def read(self, value: Value) -> bytes:
        """Reads a whole value.

        Raises:
            SourceChangedError: The file is shorter than it was.
            CheckpointNotFoundError: The file is not there.
            UnreadableFileError: The system refuses.
        """
        if not value.file:
            return value.inline
        buffer = bytearray(value.nbytes)
        self.read_into(value, 0, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, value: Value, offset: int, buffer: memoryview) -> None:
        """Fills a buffer with the bytes of a value, from its byte `offset` on; errors as for `read`."""
        if not value.file:
            buffer[:] = value.inline[offset : offset + len(buffer)]
            return
        descriptor = self.open(value.file).descriptor
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(descriptor, [buffer[done:]], value.offset + offset + done)
            except OSError as error:
                raise unreadable(value.file, error) from error
            if count == 0:
                raise changed(value.file, f"it ends at byte {os.fstat(descriptor).st_size:,} now")
            done += count

    def place(self, value: Value) -> Place | None:
        """Says which bytes on which disk a value is; None for one inside the metadata."""
        if not value.file:
            return None
        status = self.open(value.file).status
        return (status.st_dev, status.st_ino, value.offset, value.nbytes)

    def check_unchanged(self) -> None:
        """Checks that no file was replaced, removed or modified since it was opened.

        Raises:
            SourceChangedError: One was.
        """
        for name, file in self._open.items():
            try:
                now = (self.directory / name).stat()
            except OSError as error:
                raise changed(name, (error.strerror or str(error)).lower()) from error
            if not os.path.samestat(now, file.status) or _stamp(now) != _stamp(file.status):
                raise changed(name, "it was modified or replaced")

    def close(self) -> None:
        """Closes all of them."""
        for file in self._open.values():
            os.close(file.descriptor)
        self._open.clear()


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _refuse_pointer(label: str) -> None:
    descriptor, _ = open_regular(Path(label), label)
    with os.fdopen(descriptor, "rb") as file, reading(label):
        start = file.read(512)
    if start.startswith(b"version https://git-lfs"):
        from tiecli.checkpoints.lookalikes import refuse_lookalike

        refuse_lookalike(start, label)


def list_files(directory: Path) -> Mapping[str, Value]:
    """Lists the values of a store without a database: each file is one, and its path the key.

    Raises:
        UnreadableFileError: The system refuses.
    """
    values: dict[str, Value] = {}
    prefix = len(str(directory)) + 1
    pending = [str(directory)]
    try:
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file():
                        name = entry.path[prefix:]
                        values[name] = Value(name, 0, entry.stat().st_size)
    except OSError as error:
        raise unreadable(str(directory), error) from error
    return values


def allow_many_files() -> None:
    """Raises this process's limit on open files as far as it may: some stores have a file a leaf, or more."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
