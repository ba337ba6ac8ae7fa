"""Boxes: a leaf cut into blocks, along its storage or into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

from tiecli.leaves import LeafSpec

Box = tuple[tuple[int, int], ...]
"""A block of a leaf: one half-open `(start, stop)` an axis; `()` for a scalar."""

BLOCK_NBYTES = 8 << 20
"""How much of a leaf is held at a time, unless somebody wants it otherwise."""

# Bytes that a transposed leaf is read by at one place, on either side: a page.
_RUN_NBYTES = 4096


def split_boxes(spec: LeafSpec, nbytes: int = BLOCK_NBYTES) -> Iterator[Box]:
    """Splits a leaf into boxes of about `nbytes`, in C order, each contiguous as stored.

    Example:
        >>> from tiecli.leaves import DTYPES
        >>> list(split_boxes(LeafSpec((3, 4), DTYPES["F32"]), 32))
        [((0, 2), (0, 4)), ((2, 3), (0, 4))]
    """
    if spec.size == 0:
        return
    limit = max(1, nbytes * 8 // spec.dtype.bits)
    axis = 0
    while axis < len(spec.shape) and prod(spec.shape[axis + 1 :]) > limit:
        axis += 1
    if axis == len(spec.shape):
        axis -= 1
    if axis < 0:
        yield ()
        return
    step = max(1, limit // prod(spec.shape[axis + 1 :]))
    yield from _grid(spec.shape, (1,) * axis + (step,) + spec.shape[axis + 1 :])


def split_tiles(spec: LeafSpec, nbytes: int = BLOCK_NBYTES) -> Iterator[Box]:
    """Splits a leaf into tiles of at most about `nbytes`, as long as they are wide.

    Whatever axis the other side of a transpose is stored along, such a tile has long runs there.
    """
    if spec.size == 0:
        return
    limit = max(1, nbytes * 8 // spec.dtype.bits)
    run = max(1, _RUN_NBYTES * 8 // spec.dtype.bits)
    sides = [1] * len(spec.shape)
    # Each axis first gets up to a run, the longest first; then what is left of the budget.
    for reach in (run, limit):
        for axis in sorted(range(len(sides)), key=lambda axis: -spec.shape[axis]):
            room = limit // (prod(sides) // sides[axis])
            sides[axis] = max(sides[axis], min(spec.shape[axis], reach, room))
    yield from _grid(spec.shape, tuple(sides))


def split_run(shape: tuple[int, ...], first: int, count: int) -> Iterator[Box]:
    """Splits a run of elements in C order into the fewest boxes, each contiguous, in order.

    Example:
        >>> list(split_run((3, 4), 2, 8))
        [((0, 1), (2, 4)), ((1, 2), (0, 4)), ((2, 3), (0, 2))]
    """
    while count:
        axis, width = 0, prod(shape[1:])
        while width > 1 and (first % width or width > count):
            axis += 1
            width //= shape[axis]
        index = unravel(first, shape)
        if not shape:
            yield ()
            return
        steps = min(count // width, shape[axis] - index[axis])
        yield (
            *((at, at + 1) for at in index[:axis]),
            (index[axis], index[axis] + steps),
            *((0, length) for length in shape[axis + 1 :]),
        )
        first += steps * width
        count -= steps * width


def _grid(shape: tuple[int, ...], sides: tuple[int, ...]) -> Iterator[Box]:
    axes = [
        [(start, min(start + side, length)) for start in range(0, length, side)]
        for length, side in zip(shape, sides, strict=True)
    ]
    return product(*axes)


def unravel(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Gives the index of a position in C order.

    Example:
        >>> unravel(7, (2, 5))
        (1, 2)
    """
    index: list[int] = []
    for length in reversed(shape):
        position, inner = divmod(position, length)
        index.append(inner)
    return tuple(reversed(index))
