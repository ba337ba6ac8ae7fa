"""Spool: decoded parts of leaves, kept in bounded memory and bounded room on the disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

from tiecli.checkpoints.blocks import Readable
from tiecli.checkpoints.protocol import Piece
from tiecli.checkpoints.zarr.decoding import Decoder, StoredPart, decode_part
from tiecli.checkpoints.zarr.scratch import ScratchFile

HELD_NBYTES = 8 << 20
"""A part of at most this size is decoded into memory whole; larger ones never are."""

_MEMORY_NBYTES = 24 << 20
# What a part takes beside its values.
_ENTRY_NBYTES = 1 << 10
_DISK_NBYTES = 8 << 30
_FILE_NBYTES = 256 << 20
# Parts let go within this many bytes are remembered: whoever comes back so soon will come again.
_PAST_NBYTES = 1 << 30
_STREAMS = 8
_BUFFER_NBYTES = 1 << 20


class Held:
    """A decoded part in memory."""

    def __init__(self, values: bytes | bytearray) -> None:
        self._values = memoryview(values)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on."""
        buffer[:] = self._values[offset : offset + len(buffer)]


class Aside(NamedTuple):
    """A decoded part on the disk."""

    file: ScratchFile
    start: int

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on.

        Raises:
            UnreadableFileError: The system refuses.
        """
        self.file.read_into(buffer, self.start + offset)


class Stream:
    """A large part that is decoded as it is read, as long as it is read forward; else it goes to the disk."""

    def __init__(self, part: StoredPart, label: str, spool: Spool) -> None:
        self._part = part
        self._label = label
        self._spool = spool
        self._decoder: Decoder | None = Decoder(part, label)
        self._lock = Lock()

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on.

        Raises:
            ChunkError: The part does not decode.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
            WriteFailedError: The system refuses to put it aside.
        """
        with self._lock:
            decoder = self._decoder
            if decoder is not None and offset >= decoder.position:
                # An error leaves it in no state to go on.
                self._decoder = None
                decoder.skip_to(offset)
                decoder.read_into(buffer)
                if decoder.position < self._part.nbytes:
                    self._decoder = decoder
                else:
                    self._spool.end(self._part)
                return
            self._decoder = None
        self._spool.put_aside(self._part, self._label).read_into(buffer, offset)


class Spool:
    """Decodes parts of leaves, each as seldom as memory and disk allow.

    Small parts are held in memory, the latest ones first. Large ones are streams: read from
    front to back they are decoded once and kept nowhere. What is wanted once more soon
    after it was let go, or in another order, is put aside on the disk.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: OrderedDict[StoredPart, Held] = OrderedDict()
        self._held_nbytes = 0
        self._streams: OrderedDict[StoredPart, Stream] = OrderedDict()
        self._aside: dict[StoredPart, Aside] = {}
        self._files: list[ScratchFile] = []
        self._shared: ScratchFile | None = None
        self._past: OrderedDict[StoredPart, None] = OrderedDict()
        self._past_nbytes = 0

    def open(self, part: StoredPart, label: str, *, forward: bool = True) -> Readable:
        """Gives a part to be read at any place; may be called from several threads.

        Args:
            part: Which.
            label: What errors call it.
            forward: Whether it is likely to be read from front to back.

        Raises:
            ChunkError: It does not decode.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
            WriteFailedError: The system refuses to put it aside.
        """
        with self._lock:
            if (found := self._find(part)) is not None:
                return found
            is_small = part.nbytes <= HELD_NBYTES
            is_kept = part in self._past or not (is_small or forward)
            if not is_small and not is_kept:
                return self._begin(part, label)
            self._make_room(part.nbytes if is_small else 0)
        if is_kept:
            return self.put_aside(part, label)
        held = Held(decode_part(part, label))
        with self._lock:
            if part not in self._held:
                self._make_room(part.nbytes)
                self._held[part] = held
                self._held_nbytes += part.nbytes + _ENTRY_NBYTES
        return held

    def pick(self, part: StoredPart, pieces: Sequence[Piece], label: str) -> bytes:
        """Reads pieces of a part that stand in order; decodes no further than to the last; errors as for `open`."""
        buffer = memoryview(bytearray(sum(length for _, length in pieces)))
        with self._lock:
            source: Readable | None = self._held.get(part) or self._aside.get(part)
        # What is wanted to its end is held, in case more of it is wanted.
        if source is None and part.nbytes <= HELD_NBYTES and pieces and sum(pieces[-1]) * 2 > part.nbytes:
            source = self.open(part, label)
        decoder = Decoder(part, label) if source is None else None
        done = 0
        for offset, length in pieces:
            wanted = buffer[done : done + length]
            if source is not None:
                source.read_into(wanted, offset)
            elif decoder is not None:
                decoder.skip_to(offset)
                decoder.read_into(wanted)
            done += length
        return bytes(buffer)

    def put_aside(self, part: StoredPart, label: str) -> Aside:
        """Decodes a part to the disk; errors as for `open`."""
        with self._lock:
            self._streams.pop(part, None)
            if part in self._aside:
                return self._aside[part]
            file = self._choose_file(part.nbytes)
        if part.nbytes <= HELD_NBYTES:
            start = file.append(decode_part(part, label))
        else:
            decoder = Decoder(part, label)
            buffer = memoryview(bytearray(_BUFFER_NBYTES))
            start = file.nbytes
            while left := part.nbytes - decoder.position:
                decoder.read_into(buffer[:left])
                file.append(buffer[:left])
        aside = Aside(file, start)
        with self._lock:
            self._aside[part] = aside
            if self._past.pop(part, part) is None:
                self._past_nbytes -= part.nbytes
        return aside

    def end(self, part: StoredPart) -> None:
        """Lets go of a stream that was read to its end."""
        with self._lock:
            if self._streams.pop(part, None) is not None:
                self._remember(part)

    def close(self) -> None:
        """Lets go of everything."""
        with self._lock:
            for kept in (self._held, self._streams, self._aside, self._files, self._past):
                kept.clear()
            self._shared, self._held_nbytes, self._past_nbytes = None, 0, 0

    def _find(self, part: StoredPart) -> Readable | None:
        if part in self._held:
            self._held.move_to_end(part)
            return self._held[part]
        if part in self._streams:
            self._streams.move_to_end(part)
            return self._streams[part]
        return self._aside.get(part)

    def _begin(self, part: StoredPart, label: str) -> Stream:
        if len(self._streams) >= _STREAMS:
            self._remember(self._streams.popitem(last=False)[0])
        stream = self._streams[part] = Stream(part, label, self)
        return stream

    def _make_room(self, nbytes: int) -> None:
        while self._held and self._held_nbytes + nbytes > _MEMORY_NBYTES:
            part, _ = self._held.popitem(last=False)
            self._held_nbytes -= part.nbytes + _ENTRY_NBYTES
            self._remember(part)

    def _remember(self, part: StoredPart) -> None:
        if part not in self._past and part not in self._aside:
            self._past[part] = None
            self._past_nbytes += part.nbytes
        while self._past_nbytes > _PAST_NBYTES and len(self._past) > 1:
            self._past_nbytes -= self._past.popitem(last=False)[0].nbytes

    def _choose_file(self, nbytes: int) -> ScratchFile:
        """Finds a file for so many more bytes: small parts share one, for else there would be too many."""
        while self._files and sum(file.nbytes for file in self._files) + nbytes > _DISK_NBYTES:
            oldest = self._files.pop(0)
            self._shared = None if oldest is self._shared else self._shared
            for part in [part for part, aside in self._aside.items() if aside.file is oldest]:
                del self._aside[part]
                self._remember(part)
        if nbytes <= HELD_NBYTES and self._shared is not None and self._shared.nbytes < _FILE_NBYTES:
            return self._shared
        file = ScratchFile()
        self._files.append(file)
        if nbytes <= HELD_NBYTES:
            self._shared = file
        return file
