"""`tiecli/verification/pictures.py`: whatever the blocks, the picture is that of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiecli.boxes import split_boxes, split_tiles
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.verification.pictures import GRID, DifferencePainter
from tiecli.verification.verdicts import DifferencePicture


def paint_whole(difference: np.ndarray) -> DifferencePicture:
    """The picture of a leaf taken in as one block."""
    painter = DifferencePainter(difference.shape)
    painter.add(tuple((0, length) for length in difference.shape), difference)
    return painter.picture()


@given(st.lists(st.integers(0, 60), max_size=3), st.integers(99, 9000), st.booleans(), st.integers(0, 2**32 - 1))
def test_blocks_add_up_to_the_whole(shape: list[int], nbytes: int, tiles: bool, seed: int) -> None:
    """In runs or in tiles, of any size."""
    random = np.random.default_rng(seed)
    difference = random.normal(size=shape) * 10.0 ** random.integers(-20, 5, size=shape)
    difference = np.asarray(np.where(random.random(shape) < 0.3, 0.0, difference))
    spec = LeafSpec(tuple(shape), DTYPES["F64"])
    painter = DifferencePainter(spec.shape)

    for box in (split_tiles if tiles else split_boxes)(spec, nbytes):
        painter.add(box, difference[tuple(slice(*pair) for pair in box)])

    assert painter.picture() == paint_whole(difference)


def test_every_element_is_counted_once() -> None:
    """In the octave of its size, among the equal, or among the undefined."""
    picture = paint_whole(np.array([0.0, -0.0, 1.0, -1.9, 2.0, 5e-324, np.nan, -np.inf]))

    assert picture.histogram == ((-1074, 1), (0, 2), (1, 1))
    assert (picture.equal, picture.undefined) == (2, 2)


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((), 1, 1), ((5,), 1, 5), ((1000,), 1, 48), ((3, 7), 3, 7), ((2, 500, 500), *GRID)]
)
def test_the_grid_is_of_the_last_two_axes(shape: tuple[int, ...], rows: int, columns: int) -> None:
    """Never larger than the leaf, nor than the largest grid."""
    heat = paint_whole(np.zeros(shape)).heat

    assert (len(heat), {len(row) for row in heat}) == (rows, {columns})


def test_one_element_heats_the_cell_that_it_lies_in() -> None:
    """Whatever the axes before the last two."""
    difference = np.zeros((4, 320, 480))
    difference[3, 319, 10] = -7.0

    heat = np.array(paint_whole(difference).heat)

    assert heat[31, 1] == 7.0
    assert np.count_nonzero(heat) == 1


def test_what_is_undefined_is_hottest() -> None:
    """A NaN must not vanish in a maximum."""
    assert paint_whole(np.array([[np.nan, 1.0]])).heat == ((math.inf, 1.0),)


def test_complex_differences_count_by_their_size() -> None:
    """A complex gradient has one."""
    assert paint_whole(np.array([3 + 4j])).histogram == ((2, 1),)


def test_an_empty_leaf_has_an_empty_picture() -> None:
    """Nothing to count, nothing to draw."""
    assert paint_whole(np.zeros((0, 4))) == DifferencePicture((0, 4), (), 0, 0, ())
