"""Subjects: leaves, and layers of stacked leaves, and the ways to line their axes up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import islice, permutations, product

from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms import SAME, Step, Transform
from tiecli.transforms.steps import Index, Permute, Reshape, Slice

Order = tuple[int, ...]
"""Axes of a leaf longer than 1, shortest first: how it is turned to stand as its core shape."""

_MOST_ORDERS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A leaf, or one layer of a stacked leaf; each is equal to itself only.

    Attributes:
        path: The leaf.
        spec: Shape and dtype, of the layer where it is one.
        place: Where the leaf stands in stored order.
        layer: Which layer of the first axis; None for a whole leaf.
    """

    path: KeyPath
    spec: LeafSpec
    place: int
    layer: int | None = None


@cache
def core_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Gives the lengths greater than 1 in ascending order, which no permutation changes.

    Example:
        >>> core_shape((50257, 1, 768))
        (768, 50257)
    """
    return tuple(sorted(length for length in shape if length != 1))


@cache
def axis_orders(shape: tuple[int, ...]) -> tuple[Order, ...]:
    """Lists the ways to turn a shape into its core shape; more than one where lengths repeat.

    Example:
        >>> axis_orders((9, 1, 4)), axis_orders((4, 4))
        (((2, 0),), ((0, 1), (1, 0)))
    """
    by_length: dict[int, list[int]] = {}
    for axis, length in enumerate(shape):
        if length != 1:
            by_length.setdefault(length, []).append(axis)
    runs = [permutations(axes) for _, axes in sorted(by_length.items())]
    orders = islice(product(*runs), _MOST_ORDERS)
    return tuple(tuple(axis for run in order for axis in run) for order in orders)


@cache
def turning(source: tuple[int, ...], source_order: Order, shape: tuple[int, ...], order: Order) -> tuple[Step, ...]:
    """Gives the steps that take one shape to another of the same core, with axes lined up by their orders."""
    if len(source) == len(shape):
        ones = iter(axis for axis, length in enumerate(source) if length == 1)
        axes = [source_order[order.index(axis)] if axis in order else next(ones) for axis in range(len(shape))]
        return () if axes == sorted(axes) else (Permute(tuple(axes)),)
    moved = [source_order[order.index(axis)] for axis in sorted(order)]
    if moved == sorted(moved):
        return (Reshape(shape),)
    ones_first = [axis for axis, length in enumerate(source) if length == 1]
    return (Permute((*ones_first, *moved)), Reshape(shape))


@cache
def make_transform(steps: tuple[Step, ...]) -> Transform:
    """Makes a transform of steps, once: canonical form takes its time."""
    return Transform(steps) if steps else SAME


def alignment(
    canonical: Subject, alias: Subject, order: Order, then: tuple[Step, ...] = (), canonical_order: Order | None = None
) -> Transform:
    """Gives the transform that makes the alias of the canonical leaf, their axes lined up by orders.

    Args:
        canonical: The leaf, or the layer, to make it of.
        alias: What is made.
        order: How the alias is turned.
        then: Steps to add.
        canonical_order: How the canonical leaf is turned; its first order by default.
    """
    taken: tuple[Step, ...] = () if canonical.layer is None else (Slice((Index(canonical.layer),)),)
    first = canonical_order or axis_orders(canonical.spec.shape)[0]
    return make_transform((*taken, *turning(canonical.spec.shape, first, alias.spec.shape, order), *then))
