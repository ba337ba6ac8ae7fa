"""Scratch: bytes put aside in a temporary file that has no name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from threading import Lock

from tiecli.checkpoints.storedfile import changed, unreadable
from tiecli.errors import WriteFailedError

# Where /tmp is kept in memory, /var/tmp is on a disk.
_IN_MEMORY, _ON_DISK = "/tmp", "/var/tmp"  # noqa: S108  # tempfile makes the file, without a name
_PIECE_NBYTES = 1 << 20
_LABEL = "a temporary file"


class ScratchFile:
    """A temporary file without a name: it is gone when the last who holds this lets go.

    Attributes:
        nbytes: How many bytes it has.
    """

    def __init__(self) -> None:
        """Makes an empty one.

        Raises:
            WriteFailedError: The system refuses.
        """
        self._place = tempfile.gettempdir()
        if self._place == _IN_MEMORY and os.access(_ON_DISK, os.W_OK):
            self._place = _ON_DISK
        try:
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._place)  # noqa: SIM115  # closed by `__del__`
        except OSError as error:
            raise self._refused(error) from error
        self._descriptor = self._file.fileno()
        self.nbytes = 0
        self._lock = Lock()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def append(self, raw: memoryview | bytes | bytearray) -> int:
        """Writes bytes at the end, and returns where they begin.

        Raises:
            WriteFailedError: The system refuses.
        """
        view = memoryview(raw).cast("B")
        with self._lock:
            start, self.nbytes = self.nbytes, self.nbytes + len(view)
        done = 0
        while done < len(view):
            try:
                done += os.pwrite(self._descriptor, view[done:], start + done)
            except OSError as error:
                raise self._refused(error) from error
        return start

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on.

        Raises:
            UnreadableFileError: The system refuses.
        """
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise unreadable(_LABEL, error) from error
            if count == 0:
                raise changed(_LABEL, "it became shorter")
            done += count

    def read_all(self) -> Iterator[bytes]:
        """Yields all that was written, in pieces; errors as for `read_into`."""
        for start in range(0, self.nbytes, _PIECE_NBYTES):
            piece = bytearray(min(_PIECE_NBYTES, self.nbytes - start))
            self.read_into(memoryview(piece), start)
            yield bytes(piece)

    def _refused(self, error: OSError) -> WriteFailedError:
        return WriteFailedError(
            f"decoded values cannot be put aside in `{self._place}`: {(error.strerror or str(error)).lower()}",
            "Set TMPDIR to a directory on a disk that has room for the largest leaf.",
        )
