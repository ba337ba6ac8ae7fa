"""Decoding: stored bytes of one part of a leaf, undone from front to back within bounded memory."""

from __future__ import annotations

import os
import zlib
from threading import local
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, cast

from tiecli.checkpoints.storedfile import changed, unreadable
from tiecli.checkpoints.zarr.codecs import ByteCodec
from tiecli.errors import ChunkError

if TYPE_CHECKING:
    import zstandard

_READ_NBYTES = 128 << 10
_SKIP_NBYTES = 256 << 10
# Source: zstd 1.5, the most that its own decompressor allows a frame unless told otherwise; level 22 needs it.
_MOST_WINDOW = 128 << 20
# What is at most this long is decoded in one call, which saves the making of a stream.
_SMALL_NBYTES = 1 << 20


AGAIN = "Copy the checkpoint again from where it is whole; nothing else can give these values back."


class StoredChunk(NamedTuple):
    """Where stored bytes lie: in an open file, or here if the descriptor is -1."""

    descriptor: int
    offset: int
    nbytes: int
    inline: bytes = b""

    def cut(self, offset: int, nbytes: int) -> StoredChunk:
        """Gives some of these bytes."""
        inline = self.inline[offset : offset + nbytes]
        return StoredChunk(self.descriptor, self.offset + offset, nbytes, inline)


class StoredPart(NamedTuple):
    """One part of a leaf, as it is stored: equal ones have equal values.

    Attributes:
        chunk: Its stored bytes.
        codecs: What they went through.
        nbytes: How many bytes they decode to.
    """

    chunk: StoredChunk
    codecs: tuple[ByteCodec, ...]
    nbytes: int


class StoredBytes:
    """Stored bytes that can be read at any place.

    Attributes:
        chunk: Where they lie.
        label: What errors call them.
    """

    def __init__(self, chunk: StoredChunk, label: str) -> None:
        self.chunk = chunk
        self.label = label

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on.

        Raises:
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        chunk = self.chunk
        if offset + len(buffer) > chunk.nbytes:
            raise ValueError(f"bytes {offset} to {offset + len(buffer)} of {chunk.nbytes}")
        if chunk.descriptor < 0:
            buffer[:] = chunk.inline[offset : offset + len(buffer)]
            return
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(chunk.descriptor, [buffer[done:]], chunk.offset + offset + done)
            except OSError as error:
                raise unreadable(self.label, error) from error
            if count == 0:
                raise changed(self.label, "the file that holds it became shorter")
            done += count

    def read(self, size: int, offset: int = 0) -> bytes:
        """Reads up to `size` bytes from `offset` on, fewer at the end; errors as for `read_into`."""
        size = min(size, self.chunk.nbytes - offset)
        if self.chunk.descriptor < 0:
            return self.chunk.inline[offset : offset + size]
        try:
            raw = os.pread(self.chunk.descriptor, size, self.chunk.offset + offset)
        except OSError as error:
            raise unreadable(self.label, error) from error
        if len(raw) < size:
            rest = bytearray(size - len(raw))
            self.read_into(memoryview(rest), offset + len(raw))
            raw += rest
        return raw


class _Pull(Protocol):
    """A step of decoding, from whose end bytes are pulled."""

    def read(self, size: int, /) -> bytes:
        """Gives the next bytes, at most so many."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills a buffer with the next bytes, as far as there are any."""


class _Reading:
    """Stored bytes from front to back."""

    def __init__(self, stored: StoredBytes) -> None:
        self._stored = stored
        self._position = 0

    def read(self, size: int, /) -> bytes:
        """Gives the next bytes, at most so many."""
        raw = self._stored.read(size, self._position)
        self._position += len(raw)
        return raw

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills a buffer with the next bytes, as far as there are any."""
        raw = self.read(len(buffer))
        buffer[: len(raw)] = raw
        return len(raw)


class _Inflating(_Reading):
    """Bytes that zlib compressed, whether as `gzip` or as `zlib`."""

    def __init__(self, source: _Pull, name: str) -> None:
        self._source = source
        self._inflate = zlib.decompressobj(31 if name == "gzip" else 15)

    def read(self, size: int, /) -> bytes:
        """Gives the next bytes, at most so many."""
        while not self._inflate.eof:
            raw = self._inflate.unconsumed_tail or self._source.read(_READ_NBYTES)
            out = self._inflate.decompress(raw, size)
            if out:
                return out
            if not raw:
                raise zlib.error("it is cut short")
        if self._inflate.unused_data or self._source.read(1):
            raise zlib.error("bytes follow its end")
        return b""


class _Checking(_Reading):
    """Bytes that are followed by their CRC-32C."""

    def __init__(self, source: _Pull, nbytes: int) -> None:
        self._source = source
        self._left = max(0, nbytes)
        self._sum = 0

    def read(self, size: int, /) -> bytes:
        """Gives the next bytes, at most so many."""
        import google_crc32c

        raw = self._source.read(min(size, self._left)) if self._left else b""
        self._sum = google_crc32c.extend(self._sum, raw)
        self._left -= len(raw)
        if raw and not self._left:
            found = b""
            while len(found) < 4 and (more := self._source.read(4 - len(found))):
                found += more
            if found != self._sum.to_bytes(4, "little") or self._source.read(1):
                raise zlib.error("its CRC-32C does not match")
        return raw


class Decoder:
    """Decodes a part from front to back.

    Attributes:
        position: How many bytes have been decoded.
    """

    def __init__(self, part: StoredPart, label: str) -> None:
        """Begins to decode.

        Args:
            part: What.
            label: What errors call it.
        """
        self.part = part
        self.label = label
        self.position = 0
        self._source: _Pull = _Reading(StoredBytes(part.chunk, label))
        for number, codec in enumerate(reversed(part.codecs)):
            match codec.name:
                case "crc32c":
                    # It stands around what is stored, or around the values; compressors do not repeat.
                    self._source = _Checking(self._source, part.nbytes if number else part.chunk.nbytes - 4)
                case "zstd":
                    # It asks of a file no more than `read`.
                    self._source = _make_decompressor().stream_reader(cast("IO[bytes]", self._source), _READ_NBYTES)
                case name:
                    self._source = _Inflating(self._source, name)

    def read_into(self, buffer: memoryview) -> None:
        """Fills a buffer with the bytes that follow, and checks that there are no more after the last.

        Raises:
            ChunkError: They do not decode.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        import zstandard

        done = 0
        try:
            while done < len(buffer):
                count = self._source.readinto(buffer[done:])
                if not count:
                    raise spoilt(self.label, f"it has {self.position + done:,} bytes, expected {self.part.nbytes:,}")
                done += count
            self.position += done
            if self.position == self.part.nbytes and self._source.read(1):
                raise spoilt(self.label, f"it has more than the expected {self.part.nbytes:,} bytes")
        except (zstandard.ZstdError, zlib.error) as error:
            raise spoilt(self.label, str(error)) from error

    def skip_to(self, position: int) -> None:
        """Decodes up to a position, and drops what it finds; errors as for `read_into`."""
        scratch = memoryview(bytearray(min(_SKIP_NBYTES, position - self.position)))
        while self.position < position:
            self.read_into(scratch[: position - self.position])


def decode_part(part: StoredPart, label: str) -> bytes | bytearray:
    """Decodes a part into memory; errors as for `Decoder.read_into`."""
    if len(part.codecs) == 1 and part.codecs[0].name == "zstd" and max(part.nbytes, part.chunk.nbytes) <= _SMALL_NBYTES:
        return _decode_small(part, label)
    buffer = bytearray(part.nbytes)
    Decoder(part, label).read_into(memoryview(buffer))
    return buffer


def _decode_small(part: StoredPart, label: str) -> bytes:
    import zstandard

    raw = StoredBytes(part.chunk, label).read(part.chunk.nbytes)
    try:
        # What the frame states is allocated at once.
        stated = zstandard.frame_content_size(raw)
        values = _shared_decompressor().decompress(raw, part.nbytes) if stated in (-1, part.nbytes) else b""
    except zstandard.ZstdError as error:
        raise spoilt(label, str(error)) from error
    if len(values) != part.nbytes:
        raise spoilt(label, f"it has {max(stated, len(values)):,} bytes, expected {part.nbytes:,}")
    return values


# A decompressor does one thing at a time, so that each thread needs its own.
_shared = local()


def _make_decompressor() -> zstandard.ZstdDecompressor:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)


def _shared_decompressor() -> zstandard.ZstdDecompressor:
    found: zstandard.ZstdDecompressor | None = getattr(_shared, "decompressor", None)
    if found is None:
        found = _shared.decompressor = _make_decompressor()
    return found


def spoilt(label: str, how: str) -> ChunkError:
    """Words what is wrong with stored bytes."""
    return ChunkError(f"the stored bytes of `{label}` do not decode: {how}", AGAIN)
