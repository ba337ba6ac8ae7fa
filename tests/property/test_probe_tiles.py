"""Tiles of a leaf, each taken through a transform alone, are together what the transform makes of the leaf."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.strategies_transforms import Pipe, pipes, random_bits, shapes
from tiecli.boxes import Box
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.arrays import apply_step, forward
from tiecli.transforms.casts import bits_of, numpy_dtype
from tiecli.transforms.shapes import stage_specs
from tiecli.transforms.steps import Cast, Elementwise
from tiecli.verification.hops import clip
from tiecli.verification.routes import find_route
from tiecli.verification.tiling import TileSize, block_strides, choose_tiling

ALIAS = KeyPath(("alias",))
SIZES = st.builds(lambda block, blocks: TileSize(block * blocks, block), st.integers(1, 9), st.integers(1, 4))


def as_tie(pipe: Pipe) -> tuple[Tie, dict[KeyPath, LeafSpec]]:
    """Gives a pipe's sources names."""
    paths = tuple(KeyPath(("leaf", number)) for number in range(len(pipe.sources)))
    return Tie(ALIAS, paths, Transform(pipe.steps)), dict(zip(paths, pipe.sources, strict=True))


def is_full(pipe: Pipe) -> bool:
    """Whether no leaf on the way is empty."""
    steps = Transform(pipe.steps).steps
    return all(spec.size for spec in (*pipe.sources, *stage_specs(steps, pipe.sources)))


def window(array: NDArray[Any], box: Box, there: Box) -> NDArray[Any]:
    """Cuts a box out of an array, zeros beyond its edges."""
    result = np.zeros([stop - start for start, stop in box], array.dtype)
    at = tuple(slice(low - start, high - start) for (start, _), (low, high) in zip(box, there, strict=True))
    bits_of(result)[at] = bits_of(array)[tuple(slice(*pair) for pair in there)]
    return result


@given(st.data(), pipes().filter(is_full), SIZES)
@settings(max_examples=400)
def test_the_images_of_all_tiles_are_the_alias(data: st.DataObject, pipe: Pipe, size: TileSize) -> None:
    """Every element that follows from a leaf lies in the image of one tile, with the value that the transform gives."""
    tie, specs = as_tie(pipe)
    arrays = [data.draw(random_bits(spec)) for spec in pipe.sources]
    whole = bits_of(np.atleast_1d(forward(tie.transform, arrays)))
    counts = np.zeros(tie.transform.spec(pipe.sources).shape, int)
    for position, array in enumerate(arrays):
        route = find_route(tie, position, specs)
        tiling = choose_tiling([route], size)
        if tiling is None:
            return
        for tile in tiling.tiles():
            image, extent, there = route.image(tile), route.extent(tile), clip(tile, route.source.shape)
            assert there is not None
            if extent is None:
                continue
            made, dtype = window(array, tile, there), route.source.dtype
            for step in route.local_steps(tuple((0, side) for side in tiling.tile)):
                made = apply_step(step, [made], LeafSpec(made.shape, dtype))
                dtype = step.dtype if isinstance(step, Cast) else dtype
            assert made.shape == tuple(stop - start for start, stop in image)
            assert made.dtype == numpy_dtype(route.result.dtype)
            there_at = tuple(slice(*pair) for pair in extent)
            local = tuple(
                slice(low - start, high - start) for (start, _), (low, high) in zip(image, extent, strict=True)
            )
            assert np.array_equal(bits_of(np.atleast_1d(made))[local or ...], whole[there_at or ...])
            counts[there_at] += 1
    moves = Transform(tuple(step for step in tie.transform.steps if not isinstance(step, Elementwise)))
    marks = forward(moves, [np.ones(spec.shape, bool) for spec in pipe.sources])
    assert np.array_equal(counts, marks)


@given(pipes(structural=True).filter(is_full), SIZES)
@settings(max_examples=400)
def test_blocks_lie_where_their_strides_say(pipe: Pipe, size: TileSize) -> None:
    """The image of each block of a tile is as far from the first one's as the strides say, and within the tile's."""
    tie, specs = as_tie(pipe)
    route = find_route(tie, 0, specs)
    tiling = choose_tiling([route], size)
    if tiling is None:
        return
    tile = route.image(tuple((0, side) for side in tiling.tile))
    first, strides = route.image(tiling.block_at((0,) * len(tiling.block))), block_strides(route, tiling)
    for index in np.ndindex(tiling.blocks):
        image = route.image(tiling.block_at(index))
        moved = [sum(at * step[axis] for at, step in zip(index, strides, strict=True)) for axis in range(len(image))]
        assert image == tuple((low + by, high + by) for (low, high), by in zip(first, moved, strict=True))
        assert all(edge[0] <= pair[0] and pair[1] <= edge[1] for pair, edge in zip(image, tile, strict=True))


@given(shapes, SIZES)
def test_tiles_are_no_larger_than_wanted(shape: tuple[int, ...], size: TileSize) -> None:
    """Where nothing asks for more; and a leaf of one tile is no longer than its tile."""
    tie, specs = as_tie(Pipe((), (LeafSpec(shape, DTYPES["F32"]),)))
    tiling = choose_tiling([find_route(tie, 0, specs)], size) if prod(shape) else None

    if tiling is not None:
        assert prod(tiling.block) <= size.block
        assert prod(tiling.tile) <= max(size.tile, prod(tiling.block))
        assert prod(shape) <= len(list(tiling.tiles())) * prod(tiling.tile)
