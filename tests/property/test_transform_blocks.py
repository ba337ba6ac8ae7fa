"""A transformed leaf computed block by block is the transformed leaf."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.strategies_transforms import Pipe, pipes, random_bits
from tiecli.boxes import Box
from tiecli.leaves import LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms import blocks as blocks_module
from tiecli.transforms.arrays import array_spec, forward
from tiecli.transforms.blocks import evaluate_block


class ArraySource:
    """A source in memory that remembers the largest block it was asked for."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.largest = 0

    @property
    def spec(self) -> LeafSpec:
        return array_spec(self.array)

    def read(self, box: Box) -> NDArray[Any]:
        assert all(0 <= start < stop <= length for (start, stop), length in zip(box, self.array.shape, strict=True))
        block = self.array[tuple(slice(*pair) for pair in box)]
        self.largest = max(self.largest, block.size)
        return block.copy()


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """Cuts an axis into half-open pieces, some of them empty."""
    inner = sorted(draw(st.lists(st.integers(0, length), max_size=2)))
    return list(zip([0, *inner], [*inner, length], strict=True))


@given(st.data(), pipes(), st.sampled_from([0, 1, blocks_module.SMALL_BLOCK]))
@settings(max_examples=300, deadline=None)
def test_blocks_of_a_partition_are_the_whole(data: st.DataObject, pipe: Pipe, small: int) -> None:
    """Blocks that cut up the result hold its bits, and read a few times their size at most."""
    transform = Transform(pipe.steps)
    arrays = [data.draw(random_bits(source)) for source in pipe.sources]
    whole = forward(transform, arrays)
    found = np.zeros_like(whole)
    before, blocks_module.SMALL_BLOCK = blocks_module.SMALL_BLOCK, small
    try:
        for box in product(*[data.draw(cuts(length)) for length in whole.shape]):
            sources = [ArraySource(array) for array in arrays]
            block = evaluate_block(transform, sources, box)
            size = max(block.size, 1)
            assert block.dtype == whole.dtype
            assert all(source.largest <= max(4 * size, small) for source in sources)
            found[tuple(slice(*pair) for pair in box)] = block
    finally:
        blocks_module.SMALL_BLOCK = before

    assert found.tobytes() == whole.tobytes()
