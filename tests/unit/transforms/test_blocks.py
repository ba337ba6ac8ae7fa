"""Blocks: only what a block needs is read, and memory stays in proportion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.blocks import evaluate_block


class RecordingSource:
    """A leaf of consecutive numbers that exists only where it is read."""

    def __init__(self, *shape: int) -> None:
        self.spec = LeafSpec(shape, DTYPES["I64"])
        self.boxes: list[Box] = []

    def read(self, box: Box) -> NDArray[Any]:
        self.boxes.append(box)
        flat = np.zeros((), np.int64)
        for (start, stop), length in zip(box, self.spec.shape, strict=True):
            flat = flat[..., None] * length + np.arange(start, stop)
        return flat


@pytest.mark.parametrize(
    ("text", "shape", "box", "boxes"),
    [
        ("same", (8, 9), ((1, 2), (3, 9)), [((1, 2), (3, 9))]),
        ("transpose", (8, 9), ((1, 2), (3, 8)), [((3, 8), (1, 2))]),
        ("[2:6]", (8, 9), ((1, 2), (3, 9)), [((3, 4), (3, 9))]),
        ("[6:1:-2]", (8, 9), ((0, 2), (3, 9)), [((4, 7), (3, 9))]),
        ("[3]", (8, 9), ((3, 9),), [((3, 4), (3, 9))]),
        ("flip(1)", (8, 9), ((0, 8), (0, 2)), [((0, 8), (7, 9))]),
        ("pad(0,5,5)", (8, 9), ((3, 7), (0, 2)), [((0, 2), (0, 2))]),
        ("pad(0,5,5)", (8, 9), ((0, 5), (0, 2)), []),
        ("repeat(0,3)", (8, 9), ((2, 7), (0, 2)), [((0, 3), (0, 2))]),
        ("reshape(72)", (8, 9), ((20, 25),), [((2, 3), (2, 7))]),
        ("reshape(72)", (8, 9), ((20, 30),), [((2, 4), (0, 9))]),
        ("reshape(4,2,9)", (8, 9), ((1, 2), (0, 1), (3, 5)), [((2, 3), (3, 5))]),
        ("'(h k) d -> h d k', h=2", (8, 9), ((1, 2), (3, 5), (0, 4)), [((4, 8), (3, 5))]),
        ("'a b -> (b a)'", (8, 9), ((16, 24),), [((0, 8), (2, 3))]),
        ("flip(0)", (8, 9), ((0, 0), (0, 2)), []),
    ],
)
def test_only_the_smallest_box_is_read(text: str, shape: tuple[int, ...], box: Box, boxes: list[Box]) -> None:
    """Each step asks for the smallest box of its input."""
    source = RecordingSource(*shape)

    evaluate_block(Transform.parse(text), [source], box)

    assert source.boxes == boxes


def test_joins_read_the_sources_that_a_block_crosses() -> None:
    """`concat` and `stack` leave the other sources alone."""
    sources = [RecordingSource(4, 5) for _ in range(3)]
    evaluate_block(Transform.parse("concat(0)"), sources, ((6, 9), (1, 2)))

    assert [source.boxes for source in sources] == [[], [((2, 4), (1, 2))], [((0, 1), (1, 2))]]

    sources = [RecordingSource(4, 5) for _ in range(3)]
    evaluate_block(Transform.parse("stack(1)"), sources, ((0, 4), (1, 2), (3, 5)))

    assert [source.boxes for source in sources] == [[], [((0, 4), (3, 5))], []]


@pytest.mark.parametrize(
    ("text", "box", "first"),
    [
        ("reshape(-1) | [::1000000]", ((0, 100),), 0),
        ("[::100000, ::100000]", ((0, 10), (0, 10)), 0),
        ("'a (b c) -> (b a) c', b=1000", ((0, 40), (7, 8)), 7),
        ("repeat(0,200)", ((199_999_990, 199_999_999), (3, 4)), 999_999_000_003),
        ("transpose | reshape(-1)", ((1_000_000, 1_000_300),), 1),
    ],
)
def test_large_leaves_are_read_in_small_pieces(text: str, box: Box, first: int) -> None:
    """A leaf of 10^12 elements is no trouble, however far a step scatters the block."""
    source = RecordingSource(1_000_000, 1_000_000)

    block = evaluate_block(Transform.parse(text), [source], box)

    assert block.reshape(-1)[0] == first
    assert max(np.prod([stop - start for start, stop in box]) for box in source.boxes) <= 65_536
