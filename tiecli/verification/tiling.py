"""Tiling: how a stored leaf is cut, so that each tile and what becomes of it are boxes of one shape.

A tile is what is read and sent to a device at a time. It is made of blocks, which a device
computes one after another so that what lies in between stays in its caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod

from tiecli.boxes import Box
from tiecli.transforms.steps import Reshape
from tiecli.verification.hops import Demand, NotABoxError
from tiecli.verification.routes import Route

# Elements that a permuted leaf is read by at one place, on either side.
_RUN = 1024


@dataclass(frozen=True, slots=True)
class Tiling:
    """Equal tiles of equal blocks; the last along an axis may reach beyond the leaf's edge.

    Attributes:
        shape: Of the leaf.
        block: Shape of a block.
        blocks: How many of them a tile has along each axis.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def tile(self) -> tuple[int, ...]:
        """Shape of a tile."""
        return tuple(length * count for length, count in zip(self.block, self.blocks, strict=True))

    def tiles(self) -> Iterator[Box]:
        """Yields every tile, in C order."""
        axes = [
            [(start, start + side) for start in range(0, length, side)]
            for length, side in zip(self.shape, self.tile, strict=True)
        ]
        return product(*axes)

    def block_at(self, index: tuple[int, ...]) -> Box:
        """Gives one block of the first tile."""
        return tuple((at * side, (at + 1) * side) for at, side in zip(index, self.block, strict=True))


@dataclass(frozen=True, slots=True)
class TileSize:
    """How many elements a tile and a block have, roughly."""

    tile: int
    block: int


def choose_tiling(routes: Sequence[Route], size: TileSize) -> Tiling | None:
    """Chooses tiles that all routes of a leaf take to boxes; None if there are none.

    Args:
        routes: Where the leaf goes; it is not empty, nor is any alias.
        size: How large tiles and blocks are to be.
    """
    shape = routes[0].source.shape
    try:
        demands = [reduce(Demand.join, pair) for pair in zip(*(route.demands() for route in routes), strict=True)]
        cuts = [_Cut.plan(length, demand) for length, demand in zip(shape, demands, strict=True)]
        if cuts and demands[-1].exact:
            cuts[-1] = _Cut.plan(shape[-1], Demand(whole=True))
        tiling = _grow(shape, cuts, _fast_axes(shape, routes, cuts), size)
        for route in routes:
            route.image(tiling.block_at((0,) * len(cuts)))
            route.image(tuple((0, side) for side in tiling.tile))
            if any(isinstance(hop.step, Reshape) for hop in route.hops):
                # What is left at an edge may be no box where all the rest of a tile is one.
                for tile in tiling.tiles():
                    route.extent(tile)
    except NotABoxError:
        return None
    return tiling


def block_strides(route: Route, tiling: Tiling) -> tuple[tuple[int, ...], ...]:
    """Works out how far the image of a block moves along each axis of the alias, for a step along each of the leaf."""
    return _strides(route, tiling.block, tiling.blocks)


def _strides(route: Route, block: tuple[int, ...], blocks: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    first = route.image(tuple((0, side) for side in block))
    strides: list[tuple[int, ...]] = []
    for axis, side in enumerate(block):
        moved = tuple((side, 2 * side) if at == axis else (0, other) for at, other in enumerate(block))
        # An axis that is never stepped along may have tiles of one length only.
        image = route.image(moved) if blocks[axis] > 1 else first
        strides.append(tuple(there[0] - here[0] for here, there in zip(first, image, strict=True)))
    return tuple(strides)


@dataclass(frozen=True, slots=True)
class _Cut:
    """How one axis may be cut: its least length, and whether it may be a multiple of that."""

    length: int
    least: int
    grows: bool

    @classmethod
    def plan(cls, length: int, demand: Demand) -> _Cut:
        """Finds the least that a demand allows."""
        if demand.whole or (demand.exact and demand.unit >= length):
            return cls(length, length, grows=False)
        return cls(length, demand.unit, grows=not demand.exact)

    @property
    def units(self) -> int:
        """How many of the least are as long as the axis."""
        return -(-self.length // self.least) if self.grows else 1


def _fast_axes(shape: tuple[int, ...], routes: Sequence[Route], cuts: Sequence[_Cut]) -> tuple[int, ...]:
    """Finds the axes along which neighbours are stored, in the leaf and in its aliases; one if it is the same."""
    least = tuple(cut.least for cut in cuts)
    fast = [len(shape) - 1] if shape else []
    for route in routes:
        last = max((axis for axis, length in enumerate(route.result.shape) if length > 1), default=0)
        for axis, moves in enumerate(_strides(route, least, tuple(cut.units for cut in cuts))):
            if moves and moves[last] and axis not in fast:
                fast.append(axis)
    return tuple(fast)


def _grow(shape: tuple[int, ...], cuts: Sequence[_Cut], fast: tuple[int, ...], size: TileSize) -> Tiling:
    """Makes blocks of the least pieces, and tiles of blocks, until they are as large as wanted."""
    order = (*fast, *(axis for axis in reversed(range(len(shape))) if axis not in fast))
    counts = [1] * len(shape)

    def extend(axis: int, reach: int, limit: int) -> None:
        """Lengthens one axis."""
        others = prod(cut.least * count for cut, count in zip(cuts, counts, strict=True)) // counts[axis]
        most = min(cuts[axis].units, max(1, reach // cuts[axis].least), max(1, limit // others))
        # Pieces of equal length waste the least beyond the edge.
        pieces = -(-cuts[axis].units // max(most, counts[axis]))
        counts[axis] = max(counts[axis], -(-cuts[axis].units // pieces))

    for axis in fast if len(fast) > 1 else ():
        extend(axis, _RUN, size.block)
    for axis in order:
        extend(axis, shape[axis], size.block)
    block = tuple(cut.least * count for cut, count in zip(cuts, counts, strict=True))
    cuts = [_Cut(cut.length, side, cut.grows) if cut.grows else cut for cut, side in zip(cuts, block, strict=True)]
    counts = [1] * len(shape)
    for axis in fast if len(fast) > 1 else ():
        extend(axis, _RUN, size.tile)
    for axis in order:
        extend(axis, shape[axis], size.tile)
    return Tiling(shape, block, tuple(counts))
