"""Blockwise: comparing a leaf with a transformed one in blocks of a few MiB, of whatever layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box, split_boxes, split_tiles, unravel
from tiecli.checkpoints.protocol import CheckpointReader, Progress
from tiecli.compare.differences import Tally, as_bits
from tiecli.keypaths import KeyPath
from tiecli.transforms import Transform
from tiecli.transforms.blocks import evaluate_block
from tiecli.transforms.steps import Permute, Rearrange

# A strip of this size stays in a core's second-level cache, with what it is compared with.
_STRIP_NBYTES = 256 << 10
# Along the axis that is stored in one run, and along the last: as measured.
_TILE_SIDES = (128, 64)


class LeafSource:
    """One leaf of an open checkpoint, as the block-wise transforms read it.

    Attributes:
        reader: The open checkpoint.
        path: The leaf.
        spec: Its shape and dtype.
    """

    __slots__ = ("path", "reader", "spec")

    def __init__(self, reader: CheckpointReader, path: KeyPath) -> None:
        self.reader = reader
        self.path = path
        self.spec = reader.specs()[path]

    def read(self, box: Box) -> NDArray[Any]:
        """Reads one block."""
        return self.reader.read_block(self.path, box)


def compare_blocks(
    reader: CheckpointReader,
    alias: KeyPath,
    sources: tuple[LeafSource, ...],
    transform: Transform,
    tally: Tally,
    *,
    measure: bool,
    block_nbytes: int,
    progress: Progress,
) -> bool:
    """Compares a leaf block by block with what a transform makes of others.

    Args:
        reader: The checkpoint that holds the alias.
        alias: The leaf to compare.
        sources: The leaves that the transform takes.
        transform: What makes the alias of them.
        tally: Takes the differences in.
        measure: Go through the whole leaf; otherwise stop at the first difference.
        block_nbytes: How much of each side to hold at a time.
        progress: Told the bytes of the alias that have been compared.

    Returns:
        Whether it went through all of the leaf.
    """
    spec = reader.specs()[alias]
    split = split_tiles if _moves_axes(transform) else split_boxes
    # A block of a cast leaf takes a larger one of the wider leaf.
    widest = max(source.spec.dtype.bits for source in sources)
    for box in split(spec, block_nbytes * spec.dtype.bits // max(widest, spec.dtype.bits)):
        left = reader.read_block(alias, box)
        right = evaluate_block(transform, sources, box)
        for start, stop in _strips(left, right):
            starts = tuple(low for low, _ in box)
            if starts:
                starts = (starts[0] + start, *starts[1:])
            _add_strip(tally, left[start:stop] if starts else left, right[start:stop] if starts else right, starts)
            if tally.differing and not measure:
                return False
        progress(left.nbytes)
    return True


def _moves_axes(transform: Transform) -> bool:
    return any(isinstance(step, Permute | Rearrange) for step in transform.steps)


def _strips(left: NDArray[Any], right: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Cuts a block along its first axis into strips that stay in the cache."""
    rows = left.shape[0] if left.ndim else 1
    nbytes_row = max(1, left.nbytes // max(1, rows))
    step = max(1, _STRIP_NBYTES // nbytes_row)
    if not right.flags.c_contiguous:
        step = max(step, _TILE_SIDES[0])
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def _in_c_order(values: NDArray[Any]) -> NDArray[Any]:
    """Copies a strip of a transposed block tile by tile, each in its own order first.

    A row of a transposed block lies scattered over it, and where lengths are powers of two
    all of it falls on the same few cache lines: copied at once, that is seven times slower.
    """
    if values.flags.c_contiguous or values.ndim < 2:
        return values
    fastest = min(range(values.ndim), key=lambda axis: (values.shape[axis] == 1, values.strides[axis]))
    copied = np.empty(values.shape, values.dtype)
    at: list[slice] = [slice(None)] * values.ndim
    for start in range(0, values.shape[fastest], _TILE_SIDES[0]):
        at[fastest] = slice(start, start + _TILE_SIDES[0])
        for column in range(0, values.shape[-1], _TILE_SIDES[1]):
            if fastest != values.ndim - 1:
                at[-1] = slice(column, column + _TILE_SIDES[1])
            elif column:
                break
            copied[tuple(at)] = values[tuple(at)].copy(order="K")
    return copied


def _add_strip(tally: Tally, left: NDArray[Any], right: NDArray[Any], starts: tuple[int, ...]) -> None:
    def locate(position: int) -> tuple[int, ...]:
        """Gives the index in the whole leaf."""
        inner = unravel(position, left.shape)
        return tuple(start + offset for start, offset in zip(starts, inner, strict=True))

    tally.add(as_bits(left), as_bits(_in_c_order(right)), locate)
