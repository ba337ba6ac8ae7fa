"""Stored files: one open safetensors file, read at given places and watched for change."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.lookalikes import refuse_lookalike
from tiecli.checkpoints.safetensors.header import LIMIT_HEADER, Header, parse_header
from tiecli.errors import (
    CheckpointNotFoundError,
    HeaderError,
    SourceChangedError,
    TiecliError,
    TruncatedFileError,
    UnreadableFileError,
)

_TEXT_LIMIT = 100_000_000


class StoredFile(NamedTuple):
    """An open safetensors file; the descriptor is read with `pread` only.

    A memory map would be as fast, but reading one whose file was cut short kills the process.

    Attributes:
        name: The file's name inside the checkpoint.
        label: What errors call it.
        path: Where it was found, links not followed.
        descriptor: Open for reading, until `close`.
        header: What it holds.
        status: The file's state when it was opened.
    """

    name: str
    label: str
    path: Path
    descriptor: int
    header: Header
    status: os.stat_result

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer of bytes from `offset`, counted from the start of the file.

        Raises:
            SourceChangedError: The file is shorter than it was.
            UnreadableFileError: The system refused the read.
        """
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self.descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise unreadable(self.label, error) from error
            if count == 0:
                raise changed(self.label, f"it ends at byte {os.fstat(self.descriptor).st_size:,} now")
            done += count

    def read_pieces(self, pieces: Sequence[tuple[int, int]], start: int) -> bytes:
        """Reads many short pieces, whose places are counted from `start`, one after another.

        Raises:
            SourceChangedError: The file is shorter than it was.
            UnreadableFileError: The system refused the read.
        """
        wanted = sum(length for _, length in pieces)
        with reading(self.label):
            raw = b"".join([os.pread(self.descriptor, length, start + offset) for offset, length in pieces])
        if len(raw) == wanted:
            return raw
        # Something was cut short: a read, which is taken up where it stopped, or the file.
        buffer, done = bytearray(wanted), 0
        for offset, length in pieces:
            self.read_into(memoryview(buffer)[done : done + length], start + offset)
            done += length
        return bytes(buffer)

    def expect_pieces(self, pieces: Sequence[tuple[int, int]], start: int) -> None:
        """Has the system fetch pieces from the disk together: eight times as fast as one by one."""
        # Not every system takes such hints, and none has to.
        with contextlib.suppress(AttributeError, OSError):
            for offset, length in pieces:
                os.posix_fadvise(self.descriptor, start + offset, length, os.POSIX_FADV_WILLNEED)

    def check_unchanged(self) -> None:
        """Checks size and time of modification against those at opening.

        Raises:
            SourceChangedError: They differ.
        """
        with reading(self.label):
            now = os.fstat(self.descriptor)
        if now.st_size != self.status.st_size:
            raise changed(self.label, f"it had {self.status.st_size:,} bytes and has {now.st_size:,}")
        if now.st_mtime_ns != self.status.st_mtime_ns:
            raise changed(self.label, "it was modified")

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.descriptor)


def changed(name: str, how: str) -> SourceChangedError:
    """Words that a file changed under us."""
    return SourceChangedError(
        f"`{name}` changed while it was read: {how}",
        "Wait until whatever writes it is done, then run the command again.",
    )


def unreadable(name: str, error: OSError) -> TiecliError:
    """Turns the system's refusal to open or read a file into an error of ours."""
    reason = (error.strerror or str(error)).lower()
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CheckpointNotFoundError(f"`{name}`: {reason}", "Check the path; `ls` its directory.")
    hint = "See whether `cat` can read it; the disk or the network behind it may be at fault."
    if isinstance(error, PermissionError):
        hint = f"Ask for permission to read it: `ls -l {os.fsdecode(error.filename or name)}` shows whose it is."
    elif error.errno == errno.EMFILE:
        hint = "Raise the limit on open files with `ulimit -n 4096`, then run the command again."
    return UnreadableFileError(f"`{name}` cannot be read: {reason}", hint)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turns what the system refuses inside into an error that names the source.

    Raises:
        UnreadableFileError: The system refused.
        CheckpointNotFoundError: Something is not there.
    """
    try:
        yield
    except OSError as error:
        raise unreadable(name, error) from error


def open_regular(path: Path, name: str) -> tuple[int, os.stat_result]:
    """Opens a regular file for reading, links followed.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreadableFileError: The system refuses, or it is no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(name, error) from error
    except ValueError as error:
        raise UnreadableFileError(f"`{name!r}` is no file name: {error}", "Check the path.") from error
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise unreadable(name, error) from error
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise UnreadableFileError(f"`{name}` is {kind}, expected a regular file", "Copy its contents to a file first.")
    return descriptor, status


def read_text_file(path: Path, name: str) -> bytes | None:
    """Reads a text file whole, or returns None if there is none.

    Raises:
        UnreadableFileError: The system refuses, or it is absurdly large.
    """
    try:
        descriptor, status = open_regular(path, name)
    except CheckpointNotFoundError:
        return None
    try:
        if status.st_size > _TEXT_LIMIT:
            raise UnreadableFileError(
                f"`{name}` has {status.st_size:,} bytes, too many for a text file", "Check the path."
            )
        # A file object would ask the system for thrice as much.
        raw = os.read(descriptor, status.st_size + 1)
        while len(raw) < status.st_size and (more := os.read(descriptor, status.st_size)):
            raw += more
        return raw
    except OSError as error:
        raise unreadable(name, error) from error
    finally:
        os.close(descriptor)


def open_stored(path: Path, name: str, label: str) -> StoredFile:
    """Opens a safetensors file and parses its header.

    Args:
        path: Where it is.
        name: Its name inside the checkpoint.
        label: What errors call it.

    Raises:
        CheckpointNotFoundError: Nothing is there, or something else than safetensors.
        UnreadableFileError: The system refuses.
        LfsPointerError: It is a Git LFS pointer.
        HeaderError: The header is damaged.
        TruncatedFileError: Bytes are missing.
        UncoveredBytesError: Bytes belong to no leaf.
    """
    descriptor, status = open_regular(path, label)
    try:
        raw = read_header(descriptor, status.st_size, label)
        header = parse_header(raw, label, status.st_size - 8 - len(raw))
    except OSError as error:
        os.close(descriptor)
        raise unreadable(label, error) from error
    except BaseException:
        os.close(descriptor)
        raise
    return StoredFile(name, label, path, descriptor, header, status)


def read_header(descriptor: int, size: int, name: str) -> bytes:
    """Reads the JSON bytes of a header, the length before them not included.

    Args:
        descriptor: The open file.
        size: How many bytes it has.
        name: What errors call it.

    Raises:
        LfsPointerError: It is a Git LFS pointer.
        CheckpointNotFoundError: It is some other known format.
        HeaderError: It states a header that the format does not allow.
        TruncatedFileError: The header is cut short.
        SourceChangedError: The file became shorter meanwhile.
        OSError: The system refused the read.
    """
    start = os.pread(descriptor, 512, 0)
    again = "Download or copy the file again; compare its size with the one at the source."
    if not start:
        raise TruncatedFileError(f"`{name}` is empty", again)
    refuse_lookalike(start, name)
    if len(start) < 8:
        raise TruncatedFileError(
            f"`{name}` has {len(start)} bytes, fewer than the 8 that state the header's length", again
        )
    length = int.from_bytes(start[:8], "little")
    if length > LIMIT_HEADER:
        raise HeaderError(
            f"`{name}` states a header of {length:,} bytes, more than the {LIMIT_HEADER:,} that the format allows",
            "This is probably no safetensors file; see what it is with `file`.",
        )
    if length > size - 8:
        raise TruncatedFileError(
            f"`{name}` is truncated: it states a header of {length:,} bytes, {size - 8:,} are there", again
        )
    raw = start[8 : 8 + length]
    while len(raw) < length:
        more = os.pread(descriptor, length - len(raw), 8 + len(raw))
        if not more:
            raise changed(name, "it became shorter")
        raw += more
    return raw
