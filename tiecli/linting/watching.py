"""Watching: what other rules read of a leaf from its start to its end is measured on its way, and not read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tiecli.linting.values import Tally, find_gauge

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader, Piece
    from tiecli.keypaths import KeyPath


class Watch:
    """Measures what passes through a reader; may be called from several threads.

    Attributes:
        reader: The same reader, watched.
        ranges: Whether to find the smallest and the largest magnitudes as well.
    """

    def __init__(self, reader: CheckpointReader, *, ranges: bool = False) -> None:
        self.reader = cast("CheckpointReader", _WatchedReader(reader, self))
        self.ranges = ranges
        self._specs = reader.specs()
        self._tallies: dict[KeyPath, Tally] = {}
        self._lock = Lock()

    def list_measured(self) -> Mapping[KeyPath, Tally]:
        """Lists the leaves of which every byte was seen."""
        found = self._tallies.items()
        return {path: tally for path, tally in found if tally.nbytes == self._specs[path].nbytes > 0}

    def see(self, path: KeyPath, offset: int, buffer: memoryview | bytes) -> None:
        """Takes in some bytes of a leaf, if they are the next ones."""
        spec = self._specs[path]
        with self._lock:
            tally = self._tallies.get(path)
            if tally is None or (offset == 0 and tally.nbytes < spec.nbytes):
                # Whoever begins anew may come farther than the one before.
                tally = self._tallies[path] = Tally()
            if offset == tally.nbytes and buffer and len(buffer) * 8 % max(spec.dtype.bits, 8) == 0:
                tally.join(find_gauge(spec.dtype).measure(np.frombuffer(buffer, np.uint8), ranges=self.ranges))


class _WatchedReader:
    """A reader that shows what it reads; all else is the reader's own."""

    def __init__(self, reader: CheckpointReader, watch: Watch) -> None:
        self._reader = reader
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        """Fills a buffer, and shows what it holds then."""
        self._reader.read_into(path, offset, buffer)
        self._watch.see(path, offset, buffer.cast("B"))

    def read_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> bytes:
        """Reads pieces, and shows a leaf that is read as one."""
        raw = self._reader.read_pieces(path, pieces)
        if len(pieces) == 1 and pieces[0][0] == 0:
            self._watch.see(path, 0, raw)
        return raw
