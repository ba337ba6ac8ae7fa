"""Copying: bytes from one file to another inside the kernel, by the quickest way it offers."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from tiecli.checkpoints import system
from tiecli.checkpoints.protocol import Progress
from tiecli.errors import SourceChangedError, WriteFailedError

BLOCK = 4096
"""Blocks are shared between files in this size, on every file system that shares them."""

_CHUNK = 64 << 20
_BUFFER = 1 << 20
# Source: measured; the kernel moves 16 pages at a time, and half-filled ones cost a fifth.
_ALIGNMENT = 1 << 16

_NOT_HERE = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.ETXTBSY, errno.EBADF}
)


def is_unsupported(error: OSError) -> bool:
    """Whether the system says that it cannot do this here, rather than that it failed."""
    return error.errno in _NOT_HERE


def reserve(descriptor: int, nbytes: int) -> None:
    """Reserves space for a file, so that a full disk shows before a byte is copied.

    Raises:
        OSError: There is not enough.
    """
    if nbytes:
        try:
            system.allocate(descriptor, nbytes)
        except OSError as error:
            # Where nothing can be reserved, a full disk shows while writing.
            if not is_unsupported(error):
                raise


@dataclass(slots=True)
class Output:
    """A file being written from front to back.

    Attributes:
        descriptor: Open for writing.
        sync: Begin writing to the disk along the way, since all of it will be waited for.
        progress: Told of every piece.
        position: Where the next byte goes.
        shares: Whether the file system shares blocks; None until tried.
    """

    descriptor: int
    sync: bool
    progress: Progress
    position: int = 0
    shares: bool | None = None
    _ways: list[str] = field(default_factory=lambda: ["copy_file_range", "sendfile", "read"])

    def write(self, piece: bytes | memoryview) -> None:
        """Appends bytes."""
        view = memoryview(piece).cast("B")
        while len(view):
            count = os.pwrite(self.descriptor, view, self.position)
            self.position += count
            view = view[count:]

    def write_blocks(self, blocks: Iterable[memoryview], nbytes: int, name: str) -> None:
        """Appends a leaf that comes in pieces.

        Raises:
            WriteFailedError: The pieces have not `nbytes` bytes in all.
        """
        end = self.position + nbytes
        flushed = self.position
        for block in blocks:
            if self.position + block.nbytes > end:
                raise WriteFailedError(f"`{name}`: more than {nbytes:,} bytes came for it", "This is a bug; report it.")
            self.write(block)
            self.progress(block.nbytes)
            if self.position - flushed >= _CHUNK:
                self._flush(flushed)
                flushed = self.position
        if self.position != end:
            missing = f"{end - self.position:,} of {nbytes:,} bytes"
            raise WriteFailedError(f"`{name}`: {missing} did not come for it", "This is a bug; report it.")
        self._flush(flushed)

    def share(self, source: int, offset: int, nbytes: int) -> bool:
        """Appends a range by sharing its blocks, if that can be done.

        The bytes before the first and behind the last whole block are copied.
        """
        head = -self.position % BLOCK
        middle = (nbytes - head) // BLOCK * BLOCK
        if self.shares is False or (offset - self.position) % BLOCK or middle <= 0:
            return False
        try:
            system.clone_range(source, offset + head, self.descriptor, self.position + head, middle)
        except OSError as error:
            if not is_unsupported(error):
                raise
            self.shares = False
            return False
        self.shares = True
        self._read_and_write(source, offset, head)
        self.position += middle
        self._read_and_write(source, offset + head + middle, nbytes - head - middle)
        self.progress(nbytes)
        return True

    def copy(self, source: int, offset: int, nbytes: int) -> None:
        """Appends a range of another file.

        Raises:
            SourceChangedError: The other file ends before the range does.
        """
        end = offset + nbytes
        while offset < end:
            start = self.position
            want = min(_CHUNK, end - offset)
            if -start % _ALIGNMENT and nbytes > _BUFFER:
                # A copy into the middle of a block run leaves short runs all the way behind it.
                want = min(want, -start % _ALIGNMENT)
                self._read_and_write(source, offset, want)
            else:
                want = self._copy_some(source, offset, want)
            offset += want
            self.progress(want)
            self._flush(start)

    def _copy_some(self, source: int, offset: int, nbytes: int) -> int:
        while True:
            try:
                match self._ways[0]:
                    case "copy_file_range":
                        count = os.copy_file_range(source, self.descriptor, nbytes, offset, self.position)
                    case "sendfile":
                        os.lseek(self.descriptor, self.position, os.SEEK_SET)
                        count = os.sendfile(self.descriptor, source, offset, nbytes)
                    case _:
                        count = min(nbytes, _BUFFER)
                        self._read_and_write(source, offset, count)
                        return count
            except OSError as error:
                if not is_unsupported(error):
                    raise
                self._ways.pop(0)
                continue
            if count:
                self.position += count
                return count
            # Some file systems answer "nothing" where they mean "not like this".
            self._ways.pop(0)

    def _read_and_write(self, source: int, offset: int, nbytes: int) -> None:
        while nbytes:
            piece = os.pread(source, min(nbytes, _BUFFER), offset)
            if not piece:
                raise SourceChangedError(
                    f"the source changed while it was read: it ends at byte {offset:,} now",
                    "Wait until whatever writes it is done, then run the command again.",
                )
            self.write(piece)
            offset += len(piece)
            nbytes -= len(piece)

    def _flush(self, start: int) -> None:
        if self.sync:
            # Only a head start for fsync, which reports every real failure.
            with contextlib.suppress(OSError):
                system.start_writeback(self.descriptor, start, self.position - start)
