"""Chunks: random access to the values of one leaf, however its chunks are stored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from math import prod

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box, split_run
from tiecli.checkpoints.blocks import Readable, numpy_dtype, read_box
from tiecli.checkpoints.protocol import Piece
from tiecli.checkpoints.zarr.arrays import ArrayMetadata
from tiecli.checkpoints.zarr.codecs import Sharding, invert_axes
from tiecli.checkpoints.zarr.decoding import StoredBytes, StoredChunk, StoredPart, spoilt
from tiecli.checkpoints.zarr.picking import plan_picks
from tiecli.checkpoints.zarr.shards import cut_part, read_index
from tiecli.checkpoints.zarr.spool import Spool
from tiecli.leaves import LeafSpec

__all__ = ["ChunkedLeaf", "StoredChunk"]

Index = tuple[int, ...]

# An index has at most 1 MiB.
_INDEXES = 16
# More elements than this are read run by run.
_MOST_PLACES = 1 << 18


class ChunkedLeaf:
    """The values of one leaf; memory is bounded whatever the size of its chunks.

    Attributes:
        metadata: What its array is, and how it is stored.
        label: What errors call it.
    """

    def __init__(self, metadata: ArrayMetadata, chunks: Sequence[StoredChunk], label: str, spool: Spool) -> None:
        """Takes note of where the chunks are; reads nothing.

        Args:
            metadata: What the array is.
            chunks: One for each of `metadata.chunk_keys()`, in that order.
            label: What errors call the leaf.
            spool: Where decoded values are kept.
        """
        if len(chunks) != prod(metadata.chunk_counts):
            raise ValueError(f"{len(chunks)} chunks for `{label}`, which has {prod(metadata.chunk_counts)}")
        self.metadata = metadata
        self.label = label
        self._chunks = chunks
        self._spool = spool
        self._side = metadata.part_shape
        self._part_nbytes = prod(self._side) * metadata.spec.dtype.bits // 8
        self._is_plain = metadata.layout.axes == tuple(range(len(self._side)))
        # Whether the leaf is the beginning of its only part, byte by byte.
        counts = [-(-length // side) for length, side in zip(metadata.spec.shape, self._side, strict=True)]
        self._is_flat = self._is_plain and set(counts) <= {1} and self._side[1:] == metadata.spec.shape[1:]
        self._indexes: dict[int, bytes] = {}

    def read_box(self, box: Box) -> NDArray[np.generic]:
        """Reads one block, as a fresh C-ordered array of the leaf's dtype.

        Raises:
            ChunkError: Stored bytes do not decode.
            MissingChunkError: Stored bytes are not there.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        shape = self.metadata.spec.shape
        if len(box) != len(shape) or any(
            not 0 <= low <= high <= length for (low, high), length in zip(box, shape, strict=True)
        ):
            raise ValueError(f"{box} is no box of `{self.label}`, which has the shape {shape}")
        out = np.empty([high - low for low, high in box], numpy_dtype(self.metadata.spec.dtype, self.label))
        if out.size == 0:
            return out
        sides = self._side
        ranges = [range(low // side, -(-high // side)) for (low, high), side in zip(box, sides, strict=True)]
        for index in product(*ranges):
            starts = tuple(at * side for at, side in zip(index, sides, strict=True))
            inside = tuple(
                (max(low - start, 0), min(high - start, side))
                for (low, high), start, side in zip(box, starts, sides, strict=True)
            )
            block = self._read_part(index, inside)
            if block.shape == out.shape and block.flags.c_contiguous:
                return block
            out[
                tuple(
                    slice(start + first - low, start + last - low)
                    for (low, _), start, (first, last) in zip(box, starts, inside, strict=True)
                )
            ] = block
        return out

    def _read_part(self, index: Index, inside: Box) -> NDArray[np.generic]:
        """Reads a box of one part, along the axes of the leaf."""
        axes = self.metadata.layout.axes
        stored = LeafSpec(tuple(self._side[axis] for axis in axes), self.metadata.spec.dtype)
        block = read_box(self._open(index), stored, 0, tuple(inside[axis] for axis in axes), self.label)
        return block if self._is_plain else block.transpose(invert_axes(axes))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills a buffer with bytes of the leaf in C order, from byte `offset` on; errors as for `read_box`."""
        view = buffer.cast("B")
        spec = self.metadata.spec
        end = offset + len(view)
        if offset < 0 or end > spec.nbytes:
            raise ValueError(f"bytes {offset} to {end} of `{self.label}`, which has {spec.nbytes}")
        if not view:
            return
        if self._is_flat:
            self._open((0,) * len(self._side)).read_into(view, offset)
            return
        itemsize = spec.dtype.bits // 8
        first = offset // itemsize
        place = first * itemsize - offset
        for box in split_run(spec.shape, first, -(-end // itemsize) - first):
            raw = self.read_box(box).reshape(-1).view(np.uint8).data
            low, high = max(place, 0), min(place + len(raw), len(view))
            view[low:high] = raw[low - place : high - place]
            place += len(raw)

    def read_pieces(self, pieces: Sequence[Piece]) -> bytes:
        """Reads many short pieces of the leaf's bytes in C order, one after another; errors as for `read_box`.

        Each part is decoded once at most, and no further than it is wanted.
        """
        spec = self.metadata.spec
        itemsize = spec.dtype.bits // 8
        nbytes = sum(length for _, length in pieces)
        if self._is_flat and all(offset + length <= after for (offset, length), (after, _) in pairwise(pieces)):
            return self._pick((0,) * len(self._side), pieces)
        is_ragged = any(offset % itemsize or length % itemsize for offset, length in pieces)
        if len(pieces) < 2 or nbytes > _MOST_PLACES * itemsize or is_ragged:
            buffer, done = memoryview(bytearray(nbytes)), 0
            for offset, length in pieces:
                self.read_into(offset, buffer[done : done + length])
                done += length
            return bytes(buffer)
        out = np.empty(nbytes // itemsize, np.dtype((np.void, itemsize)))
        for pick in plan_picks(pieces, itemsize, spec.shape, self._side, self.metadata.layout.axes):
            found = np.frombuffer(self._pick(pick.part, pick.pieces), out.dtype)
            out[pick.slots] = found[pick.gather]
        return out.tobytes()

    def _pick(self, index: Index, pieces: Sequence[Piece]) -> bytes:
        part, label = self._locate(index)
        if part.codecs:
            return self._spool.pick(part, pieces, label)
        stored = StoredBytes(part.chunk, label)
        return b"".join([stored.read(length, offset) for offset, length in pieces])

    def _open(self, index: Index) -> Readable:
        part, label = self._locate(index)
        if not part.codecs:
            return StoredBytes(part.chunk, label)
        return self._spool.open(part, label, forward=self._is_plain)

    def _locate(self, index: Index) -> tuple[StoredPart, str]:
        """Finds the stored bytes of a part, and words what it is."""
        metadata = self.metadata
        layout, counts = metadata.layout, metadata.chunk_counts
        ratios = tuple(whole // side for whole, side in zip(metadata.chunk_shape, self._side, strict=True))
        at = tuple(place // ratio for place, ratio in zip(index, ratios, strict=True))
        number = _ravel(at, counts)
        label = f"{self.label}/{metadata.key_style.spell(at)}"
        chunk = self._chunks[number]
        if (sharding := layout.sharding) is not None:
            within = tuple(index[axis] % ratios[axis] for axis in sharding.axes)
            entry = _ravel(within, tuple(ratios[axis] for axis in sharding.axes))
            chunk = cut_part(chunk, sharding, self._index_of(number, sharding, prod(ratios), label), entry, label)
        if not layout.codecs and chunk.nbytes != self._part_nbytes:
            raise spoilt(label, f"{chunk.nbytes:,} bytes, expected {self._part_nbytes:,}")
        return StoredPart(chunk, layout.codecs, self._part_nbytes), label

    def _index_of(self, number: int, sharding: Sharding, entries: int, label: str) -> bytes:
        index = self._indexes.get(number)
        if index is None:
            if len(self._indexes) >= _INDEXES:
                self._indexes.clear()
            index = self._indexes[number] = read_index(self._chunks[number], sharding, entries, label)
        return index


def _ravel(index: Index, counts: Index) -> int:
    """Gives the position of an index in C order."""
    position = 0
    for at, count in zip(index, counts, strict=True):
        position = position * count + at
    return position
