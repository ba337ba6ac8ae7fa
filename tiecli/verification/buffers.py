"""Buffers: host memory that tiles are read into, used again for the next ones.

A system takes longer to hand out fresh memory than a processor to compute on it, and jax
takes host memory as it lies where that begins at a multiple of 64 bytes.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms.casts import bits_of, numpy_dtype

_ALIGNMENT = 64


class Buffer:
    """Memory for one tile at a time."""

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        self._memory: NDArray[np.uint8] = np.empty(0, np.uint8)

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Gives an array, in place of the one before; what it holds is left over from that."""
        nbytes = prod(shape) * dtype.itemsize
        if len(self._memory) < nbytes:
            fresh = np.empty(nbytes + _ALIGNMENT, np.uint8)
            self._memory = fresh[-fresh.ctypes.data % _ALIGNMENT :][:nbytes]
        return self._memory[:nbytes].view(dtype).reshape(shape)

    def read(self, reader: CheckpointReader, path: KeyPath, box: Box, there: Box | None) -> NDArray[Any]:
        """Reads a box of a leaf, in place of what was read before.

        Args:
            reader: Where the leaf is.
            path: The leaf.
            box: The box; it may reach beyond the leaf's edge.
            there: What of it is to be read, None for nothing; the rest is filled with zeros.

        Raises:
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        spec = reader.specs()[path]
        result = self.take(tuple(stop - start for start, stop in box), numpy_dtype(spec.dtype))
        bits = bits_of(result)
        if box != there:
            bits[...] = 0
        if there is None:
            return result
        at = tuple(slice(low - start, high - start) for (start, _), (low, high) in zip(box, there, strict=True))
        inside = bits[at] if at else bits
        first = _first_byte(spec, there)
        if first is None or not inside.flags.c_contiguous:
            inside[...] = bits_of(reader.read_block(path, there))
        else:
            reader.read_into(path, first, inside.reshape(-1).view(np.uint8).data)
        return result


def _first_byte(spec: LeafSpec, box: Box) -> int | None:
    """Finds where a box begins among the bytes of a leaf in C order; None if they do not lie in one run."""
    split = len(box)
    while split and box[split - 1] == (0, spec.shape[split - 1]):
        split -= 1
    if any(stop - start != 1 for start, stop in box[: max(split - 1, 0)]):
        return None
    element = sum(start * prod(spec.shape[axis + 1 :]) for axis, (start, _) in enumerate(box))
    return element * spec.dtype.bits // 8
