"""Picking: in which parts of a leaf, and where in them, scattered elements are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import unravel
from tiecli.checkpoints.protocol import Piece
from tiecli.checkpoints.zarr.codecs import Axes, Shape

Indices = NDArray[np.int64]


class Pick(NamedTuple):
    """What is wanted of one part.

    Attributes:
        part: Which: its place in the grid of parts.
        pieces: The bytes to read of it, in the order they are stored in.
        gather: For each element, where it is among those read.
        slots: For each element, where it is among all that are wanted.
    """

    part: tuple[int, ...]
    pieces: tuple[Piece, ...]
    gather: Indices
    slots: Indices


def plan_picks(pieces: Sequence[Piece], itemsize: int, shape: Shape, side: Shape, axes: Axes) -> Iterator[Pick]:
    """Plans how to read pieces of a leaf from its parts.

    Args:
        pieces: Of the leaf's bytes in C order, each of whole elements.
        itemsize: Bytes an element.
        shape: Of the leaf.
        side: Shape of a part.
        axes: The order of the elements in a part: its axis `i` is axis `axes[i]` of the leaf.
    """
    rest: Indices = np.concatenate(
        [np.arange(offset // itemsize, (offset + length) // itemsize, dtype=np.int64) for offset, length in pieces]
    )
    parts, places = np.zeros_like(rest), np.zeros_like(rest)
    counts = [-(-length // part) for length, part in zip(shape, side, strict=True)]
    stored = [side[axis] for axis in axes]
    for axis in reversed(range(len(shape))):
        rest, at = np.divmod(rest, shape[axis])
        part, inside = np.divmod(at, side[axis])
        parts += part * prod(counts[axis + 1 :])
        places += inside * prod(stored[axes.index(axis) + 1 :])
    order = np.lexsort((places, parts))
    parts, places = parts[order], places[order]
    bounds = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(order)]
    for low, high in pairwise(bounds):
        if low < high:
            runs, gather = _join(places[low:high], itemsize)
            part_at = unravel(int(parts[low]), tuple(counts))
            yield Pick(part_at, runs, gather, order[low:high])


def _join(places: Indices, itemsize: int) -> tuple[tuple[Piece, ...], Indices]:
    """Joins sorted places that follow one another, or are equal, into pieces."""
    breaks = np.flatnonzero(np.diff(places) > 1) + 1
    firsts = places[np.concatenate(([0], breaks))]
    lengths = places[np.concatenate((breaks - 1, [len(places) - 1]))] - firsts + 1
    bases = np.cumsum(lengths) - lengths
    run_of = np.searchsorted(firsts, places, side="right") - 1
    runs = zip((firsts * itemsize).tolist(), (lengths * itemsize).tolist(), strict=True)
    return tuple(runs), places - firsts[run_of] + bases[run_of]
