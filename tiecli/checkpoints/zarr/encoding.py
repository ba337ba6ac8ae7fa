"""Encoding: the values of a new leaf as the stored bytes of its chunks, within bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import product
from math import prod
from typing import Protocol

import numpy as np

from tiecli.boxes import split_boxes
from tiecli.checkpoints.blocks import numpy_dtype, read_box
from tiecli.checkpoints.zarr.arrays import ArrayMetadata
from tiecli.checkpoints.zarr.codecs import ABSENT, ENTRY, ByteCodec, invert_axes
from tiecli.checkpoints.zarr.scratch import ScratchFile
from tiecli.leaves import LeafSpec

Index = tuple[int, ...]

# Some rows of chunks are put aside on the disk unless they are smaller than this.
_HELD_NBYTES = 16 << 20
_BLOCK_NBYTES = 1 << 20


class _Step(Protocol):
    """One codec at work."""

    def compress(self, raw: bytes, /) -> bytes:
        """Takes bytes in, and gives what of the result is ready."""

    def flush(self) -> bytes:
        """Gives the rest of the result."""


class _Checksum:
    """Passes bytes on, and ends with their CRC-32C."""

    def __init__(self) -> None:
        self._sum = 0

    def compress(self, raw: bytes, /) -> bytes:
        """Takes bytes in, and gives what of the result is ready."""
        import google_crc32c

        self._sum = google_crc32c.extend(self._sum, raw)
        return raw

    def flush(self) -> bytes:
        """Gives the rest of the result."""
        return self._sum.to_bytes(4, "little")


def _start(codec: ByteCodec, nbytes: int) -> _Step:
    match codec.name:
        case "crc32c":
            return _Checksum()
        case "zstd":
            import zstandard

            compressor = zstandard.ZstdCompressor(level=codec.level, write_checksum=codec.checksum)
            return compressor.compressobj(size=nbytes)
        case name:
            return zlib.compressobj(codec.level, wbits=31 if name == "gzip" else 15)


def encode_part(raw: Iterable[bytes], codecs: tuple[ByteCodec, ...], nbytes: int) -> Iterator[bytes]:
    """Takes the bytes of a part through its codecs, piece by piece.

    Args:
        raw: The bytes, in pieces.
        codecs: Which codecs, in order.
        nbytes: How many bytes there are in all.
    """
    stream: Iterable[bytes] = raw
    for codec in codecs:
        stream = _run(stream, _start(codec, nbytes))
        nbytes += 4 * (codec.name == "crc32c")
    yield from filter(None, stream)


def _run(stream: Iterable[bytes], step: _Step) -> Iterator[bytes]:
    for raw in stream:
        yield step.compress(raw)
    yield step.flush()


class _Values:
    """The values of a leaf as they arrive: in C order, some rows at a time."""

    def __init__(self, blocks: Iterable[memoryview]) -> None:
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")

    def take(self, nbytes: int) -> Iterator[memoryview]:
        """Yields the next so many bytes, in pieces."""
        while nbytes:
            if not self._rest:
                block = next(self._blocks, None)
                if block is None:
                    raise ValueError(f"the values of a leaf end {nbytes:,} bytes too early")
                self._rest = block.cast("B")
            piece, self._rest = self._rest[:nbytes], self._rest[nbytes:]
            nbytes -= len(piece)
            yield piece

    def finish(self) -> None:
        """Reads to the very end: whoever gives the values may check them there."""
        left = len(self._rest) + sum(block.nbytes for block in self._blocks)
        if left:
            raise ValueError(f"{left:,} bytes more than a leaf has came for it")


class _Rows:
    """Some rows of a leaf in memory."""

    def __init__(self) -> None:
        self._values = bytearray()

    def append(self, raw: memoryview) -> None:
        """Puts bytes behind those that are there."""
        self._values += raw

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on."""
        buffer[:] = memoryview(self._values)[offset : offset + len(buffer)]


class _Encoder:
    """Encodes one leaf, a band after another: as many rows as a chunk has."""

    def __init__(self, metadata: ArrayMetadata, blocks: Iterable[memoryview]) -> None:
        self._metadata = metadata
        self._values = _Values(blocks)
        self._shape = metadata.spec.shape
        self._side = metadata.part_shape
        self._itemsize = metadata.spec.dtype.bits // 8
        self._ratios = tuple(whole // part for whole, part in zip(metadata.chunk_shape, self._side, strict=True))
        plain = tuple(range(len(self._shape)))
        # Whether parts follow one another as the values do.
        self._is_flat = metadata.layout.axes == plain and metadata.chunk_shape[1:] == self._side[1:] == self._shape[1:]
        self._top = 0
        self._band: _Rows | ScratchFile = _Rows()

    def encode(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yields each chunk."""
        counts = self._metadata.chunk_counts
        for index in product(*map(range, counts)):
            if index and not any(index[1:]) and not self._is_flat:
                self._put_aside(index[0])
            pieces = self._encode_chunk(index)
            yield self._metadata.key_style.spell(index), pieces
            # What was not asked for is passed over.
            for _ in pieces:
                pass
        self._values.finish()

    def _put_aside(self, number: int) -> None:
        """Takes the rows of a band from what arrives, so that they can be read in any order."""
        height = self._metadata.chunk_shape[0]
        self._top = number * height
        nbytes = min(height, self._shape[0] - self._top) * prod(self._shape[1:]) * self._itemsize
        self._band = _Rows() if nbytes <= _HELD_NBYTES else ScratchFile()
        for piece in self._values.take(nbytes):
            self._band.append(piece)

    def _encode_chunk(self, index: Index) -> Iterator[bytes]:
        sharding = self._metadata.layout.sharding
        if sharding is None:
            yield from self._encode_part(index)
            return
        first = tuple(at * ratio for at, ratio in zip(index, self._ratios, strict=True))
        back = invert_axes(sharding.axes)
        entries, end = [], 0
        if sharding.index_first:
            end = prod(self._ratios) * ENTRY.size + 4 * sharding.index_checked
        file = ScratchFile() if sharding.index_first else None
        for turned in product(*(range(self._ratios[axis]) for axis in sharding.axes)):
            part = tuple(at + turned[axis] for at, axis in zip(first, back, strict=True))
            start = end
            if any(at * side >= length for at, side, length in zip(part, self._side, self._shape, strict=True)):
                # Tensorstore leaves out what lies outside of the leaf, too.
                entries.append(ENTRY.pack(ABSENT, ABSENT))
                continue
            for piece in self._encode_part(part):
                end += len(piece)
                if file is None:
                    yield piece
                else:
                    file.append(piece)
            entries.append(ENTRY.pack(start, end - start))
        table = b"".join(entries)
        yield from encode_part([table], (ByteCodec("crc32c"),) if sharding.index_checked else (), len(table))
        if file is not None:
            yield from file.read_all()

    def _encode_part(self, part: Index) -> Iterator[bytes]:
        nbytes = prod(self._side) * self._itemsize
        raw = self._flat_bytes(part) if self._is_flat else self._turned_bytes(part)
        return encode_part(raw, self._metadata.layout.codecs, nbytes)

    def _flat_bytes(self, part: Index) -> Iterator[bytes]:
        """Yields the bytes of a part that come just so; rows beyond the leaf are zeros."""
        width = prod(self._side[1:]) * self._itemsize
        height = self._side[0] if part else 1
        rows = min(height, self._shape[0] - part[0] * height) if part else 1
        for piece in self._values.take(rows * width):
            for start in range(0, len(piece), _BLOCK_NBYTES):
                yield bytes(piece[start : start + _BLOCK_NBYTES])
        yield from _zeros((height - rows) * width)

    def _turned_bytes(self, part: Index) -> Iterator[bytes]:
        """Yields the bytes of a part out of the band put aside."""
        spec, axes = self._metadata.spec, self._metadata.layout.axes
        band = LeafSpec((min(self._metadata.chunk_shape[0], self._shape[0] - self._top), *self._shape[1:]), spec.dtype)
        starts = [at * side for at, side in zip(part, self._side, strict=True)]
        starts[0] -= self._top
        back = invert_axes(axes)
        stored = LeafSpec(tuple(self._side[axis] for axis in axes), spec.dtype)
        dtype = numpy_dtype(spec.dtype, "a new leaf")
        for box in split_boxes(stored, _BLOCK_NBYTES):
            inside = [box[axis] for axis in back]
            block = np.zeros([high - low for low, high in inside], dtype)
            wanted = tuple(
                (min(start + low, length), min(start + high, length))
                for start, (low, high), length in zip(starts, inside, band.shape, strict=True)
            )
            found = read_box(self._band, band, 0, wanted, "a new leaf")
            block[tuple(map(slice, found.shape))] = found
            yield block.transpose(axes).tobytes()


def _zeros(nbytes: int) -> Iterator[bytes]:
    while nbytes > 0:
        yield bytes(min(nbytes, _BLOCK_NBYTES))
        nbytes -= _BLOCK_NBYTES


def encode_chunks(metadata: ArrayMetadata, blocks: Iterable[memoryview]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Encodes a leaf as its metadata says.

    Args:
        metadata: What the array is, and how it is to be stored.
        blocks: Its values in C order, in pieces of any size, which together are all of it.

    Yields:
        For each of `metadata.chunk_keys()`, in that order, the key and the stored bytes in
        pieces; they are made as they are asked for, so each chunk is to be dealt with before
        the next.

    Raises:
        WriteFailedError: The system refuses to put some rows aside.
    """
    return _Encoder(metadata, blocks).encode()
