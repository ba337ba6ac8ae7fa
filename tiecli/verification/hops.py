"""Hops: what one step of a transform makes of a box, and what a box must look like for that.

A box may reach beyond the edge of its leaf, as the last one of a row of equal tiles does;
so may what becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import assert_never

from tiecli.boxes import Box
from tiecli.transforms.regroup import GroupedAxes, group_axes
from tiecli.transforms.shapes import resolve_items, resolve_range
from tiecli.transforms.steps import (
    FULL,
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Item,
    Negate,
    Pad,
    Permute,
    Range,
    Rearrange,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
)


class NotABoxError(Exception):
    """A tile's image is no box."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the length of a tile must be along one axis.

    Attributes:
        unit: It is a multiple of this, and so is where it starts.
        exact: It is `unit` itself, or the whole axis.
        whole: It is the whole axis.
    """

    unit: int = 1
    exact: bool = False
    whole: bool = False

    def join(self, other: Demand) -> Demand:
        """Gives what both ask for."""
        unit = self.unit * other.unit // gcd(self.unit, other.unit)
        misfit = any(demand.exact and demand.unit != unit for demand in (self, other))
        return Demand(unit, self.exact or other.exact, self.whole or other.whole or misfit)


_WHOLE = Demand(whole=True)


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a route.

    Attributes:
        step: The step; never a pattern, which is three.
        before: Shape before it.
        after: Shape after it.
        place: Of a joining step: the layer of the result where this source begins.
    """

    step: Step
    before: tuple[int, ...]
    after: tuple[int, ...]
    place: int = 0

    def image(self, box: Box) -> Box:  # noqa: PLR0911  # one case a step
        """Gives the box that a box becomes, even where the step takes nothing of it.

        Raises:
            NotABoxError: What it becomes is no box.
        """
        match self.step:
            case Permute(axes):
                return tuple(box[axis] for axis in axes)
            case Flip(axis):
                length, (start, stop) = self.before[axis], box[axis]
                return _with(box, axis, (length - stop, length - start))
            case Pad(axis, layers, _):
                return _with(box, axis, (box[axis][0] + layers, box[axis][1] + layers))
            case Concat(axis):
                return _with(box, axis, (box[axis][0] + self.place, box[axis][1] + self.place))
            case Stack(axis):
                at = axis % len(self.after)
                return (*box[:at], (self.place, self.place + 1), *box[at:])
            case Repeat(axis, count):
                return _with(box, axis, (box[axis][0] * count, box[axis][1] * count))
            case Slice():
                return _sliced(self.step, self.before, box)
            case Reshape():
                return _reshaped(self.before, self.after, box)
            case Scale() | Negate() | Cast() | Conjugate():
                return box
            case Rearrange():
                raise AssertionError("a pattern is written as three steps")
            case _:
                assert_never(self.step)

    def takes(self, box: Box) -> bool:
        """Whether the step keeps anything of a box at all."""
        if not isinstance(self.step, Slice):
            return True
        layers = zip(_layers(self.step, self.before), box, strict=True)
        return all(isinstance(taken, range) or start <= taken < stop for taken, (start, stop) in layers)

    def demands(self, after: Sequence[Demand]) -> tuple[Demand, ...]:
        """Works out what a tile must look like before the step, given what it must look like after."""
        match self.step:
            case Permute(axes):
                return tuple(after[axes.index(axis)] for axis in range(len(axes)))
            case Stack(axis):
                at = axis % len(self.after)
                return (*after[:at], *after[at + 1 :])
            case Repeat(axis, count):
                at = axis % len(after)
                unit = after[at].unit
                needed = Demand(unit // gcd(unit, count), whole=after[at].exact or after[at].whole)
                return (*after[:at], needed, *after[at + 1 :])
            case Slice():
                return _demands_of_slice(self.step, self.before, after)
            case Reshape():
                return _demands_of_reshape(self.before, self.after, after)
            case _:
                return tuple(after)

    def local(self, box: Box) -> Step | None:
        """Gives the step as it is applied to a tile alone; None where it leaves it as it is."""
        lengths = tuple(stop - start for start, stop in box)
        match self.step:
            case Pad() | Concat():
                return None
            case Stack(axis):
                at = axis % len(self.after)
                return Reshape((*lengths[:at], 1, *lengths[at:]))
            case Slice():
                return _local_slice(self.step, self.before, box)
            case Reshape():
                image = _reshaped(self.before, self.after, box)
                return Reshape(tuple(stop - start for start, stop in image))
            case _:
                return self.step


def clip(box: Box, shape: tuple[int, ...]) -> Box | None:
    """Cuts a box at the edges of a leaf; None if nothing is left."""
    cut = tuple((max(start, 0), min(stop, length)) for (start, stop), length in zip(box, shape, strict=True))
    return cut if all(start < stop for start, stop in cut) else None


def _with(box: Box, axis: int, pair: tuple[int, int]) -> Box:
    at = axis % len(box)
    return (*box[:at], pair, *box[at + 1 :])


def _layers(step: Slice, shape: tuple[int, ...]) -> tuple[int | range, ...]:
    """For each axis, the one layer that is taken, or those that are."""
    return tuple(
        item.at % length if isinstance(item, Index) else resolve_range(item, length) or range(0)
        for item, length in zip(resolve_items(step, len(shape)) or (), shape, strict=True)
    )


def _sliced(step: Slice, shape: tuple[int, ...], box: Box) -> Box:
    image: list[tuple[int, int]] = []
    for taken, (start, stop) in zip(_layers(step, shape), box, strict=True):
        if isinstance(taken, range):
            # The first and the last that is taken, in the order in which they are.
            low, high = (start, stop - 1) if taken.step > 0 else (stop - 1, start)
            image.append((-((taken.start - low) // taken.step), (high - taken.start) // taken.step + 1))
    return tuple(image)


def _local_slice(step: Slice, shape: tuple[int, ...], box: Box) -> Step:
    items: list[Item] = []
    for taken, (start, stop) in zip(_layers(step, shape), box, strict=True):
        if not isinstance(taken, range):
            # Where this tile has not that layer, one of the same shape may have it as its only one.
            items.append(Index(taken - start if start <= taken < stop else 0))
        elif taken.step == 1:
            items.append(FULL)
        else:
            low = start if taken.step > 0 else stop - 1
            first = taken.start - (taken.start - low) // taken.step * taken.step
            items.append(Range(first - start, None, taken.step))
    return Slice(tuple(items))


def _demands_of_slice(step: Slice, shape: tuple[int, ...], after: Sequence[Demand]) -> tuple[Demand, ...]:
    rest = iter(after)
    demands: list[Demand] = []
    for taken in _layers(step, shape):
        if isinstance(taken, range):
            demand = next(rest)
            demands.append(Demand(demand.unit * abs(taken.step), demand.exact, demand.whole))
        else:
            demands.append(Demand(exact=True))
    return tuple(demands)


def _leading(lengths: tuple[int, ...]) -> int | None:
    """The first axis that is longer than 1."""
    return next((axis for axis, length in enumerate(lengths) if length > 1), None)


def _reshaped(before: tuple[int, ...], after: tuple[int, ...], box: Box) -> Box:
    image: list[tuple[int, int]] = []
    start = 0
    for group in group_axes(before, after):
        image += _regrouped(group, box[start : start + len(group.source)])
        start += len(group.source)
    return tuple(image)


def _regrouped(group: GroupedAxes, box: Box) -> list[tuple[int, int]]:
    """Moves the layers of the first axis of a group, all of each, to the first axis that it becomes."""
    image = [(0, length) for length in group.result]
    source, result = _leading(group.source), _leading(group.result)
    if any(pair != (0, group.source[axis]) for axis, pair in enumerate(box) if axis != source):
        raise NotABoxError
    if source is None or result is None:
        return image
    (start, stop), size, width = box[source], prod(group.source[source + 1 :]), prod(group.result[result + 1 :])
    if start * size % width or stop * size % width:
        raise NotABoxError
    image[result] = (start * size // width, stop * size // width)
    return image


def _demands_of_reshape(
    before: tuple[int, ...], after: tuple[int, ...], demands: Sequence[Demand]
) -> tuple[Demand, ...]:
    found: list[Demand] = []
    for group in group_axes(before, after):
        mine = [_WHOLE] * len(group.source)
        source, result = _leading(group.source), _leading(group.result)
        if source is not None and result is not None:
            demand = demands[group.start + result]
            size, width = prod(group.source[source + 1 :]), prod(group.result[result + 1 :]) * demand.unit
            unit = width // gcd(size, width)
            misfit = demand.exact and unit * size != width
            mine[source] = Demand(unit, demand.exact, demand.whole or misfit)
        found += mine
    return tuple(found)
