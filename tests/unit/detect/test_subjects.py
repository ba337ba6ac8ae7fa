"""Subjects: lining up the axes of leaves."""

from __future__ import annotations

import numpy as np
import pytest

from tiecli.detect.subjects import Subject, alignment, axis_orders, core_shape
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms.arrays import forward


@pytest.mark.parametrize(
    ("shape", "count"), [((), 1), ((5,), 1), ((1, 5), 1), ((4, 9), 1), ((4, 4), 2), ((3, 3, 3), 6), ((2, 2, 5, 5), 4)]
)
def test_every_order_turns_a_shape_into_its_core(shape: tuple[int, ...], count: int) -> None:
    """There is one order for each permutation of equal lengths, and each gives the core shape."""
    orders = axis_orders(shape)

    assert len(orders) == len(set(orders)) == count
    assert {tuple(shape[axis] for axis in order) for order in orders} == {core_shape(shape)}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4, 9), (9, 4)),
        ((4, 4), (4, 4)),
        ((3, 5, 3), (3, 3, 5)),
        ((1, 4, 9), (9, 4, 1)),
        ((1, 4, 9), (9, 4)),
        ((9, 4), (1, 4, 1, 9)),
        ((6,), (6, 1)),
    ],
)
def test_alignment_lines_up_core_elements(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Under the transform, an element keeps its place in the core shape, for each way to turn the alias."""
    canonical = Subject(KeyPath(("c",)), LeafSpec(source, DTYPES["F32"]), 0)
    alias = Subject(KeyPath(("a",)), LeafSpec(target, DTYPES["F32"]), 1)
    leaf = np.arange(np.prod(source), dtype=np.float32).reshape(source)
    core = leaf.transpose([axis for axis in range(leaf.ndim) if source[axis] == 1] + [*axis_orders(source)[0]])
    for order in axis_orders(target):
        made = forward(alignment(canonical, alias, order), [leaf])
        turned = made.transpose([axis for axis in range(made.ndim) if target[axis] == 1] + [*order])

        assert made.shape == target
        assert np.array_equal(turned.reshape(core_shape(target)), core.reshape(core_shape(source)))
