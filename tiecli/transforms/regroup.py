"""Regrouping: which elements of a leaf a box of its reshaped form is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class GroupedAxes:
    """Neighbouring axes that a reshape turns into other axes of as many elements.

    Attributes:
        source: Their lengths before.
        result: The lengths after.
        start: The first of the axes after.
    """

    source: tuple[int, ...]
    result: tuple[int, ...]
    start: int

    def source_box(self, box: Ranges) -> Ranges:
        """Finds the smallest box before that is contiguous and holds a box after."""
        return self._hull(box)[0]

    def places(self, box: Ranges) -> slice | NDArray[Any]:
        """Finds where in the flattened `source_box` the elements of the box lie, in order."""
        first, last = self._bounds(box)
        base = self._hull(box)[1]
        own = self._own(box)
        if prod(stop - start for start, stop in own) == last - first:
            return slice(first - base, last - base)
        flat = np.array([-base])
        for axis, (start, stop) in enumerate(own):
            stride = prod(self.result[axis + 1 :])
            flat = (flat[:, None] + np.arange(start, stop) * stride).reshape(-1)
        return flat

    def _own(self, box: Ranges) -> Ranges:
        return box[self.start : self.start + len(self.result)]

    def _bounds(self, box: Ranges) -> tuple[int, int]:
        """The first flat position of the box, and the one after its last."""
        first = last = 0
        for (start, stop), length in zip(self._own(box), self.result, strict=True):
            first, last = first * length + start, last * length + stop - 1
        return first, last + 1

    def _hull(self, box: Ranges) -> tuple[Ranges, int]:
        """The box before, and the flat position of its first element."""
        first, last = self._bounds(box)
        last -= 1
        ranges: list[tuple[int, int]] = []
        base = 0
        for axis in range(len(self.source)):
            stride = prod(self.source[axis + 1 :])
            low, high = first // stride, last // stride
            ranges.append((low, high + 1))
            base += low * stride
            if low != high:
                # From here on whole rows are needed.
                ranges += [(0, length) for length in self.source[axis + 1 :]]
                break
            first, last = first - low * stride, last - low * stride
        return tuple(ranges), base


def group_axes(source: tuple[int, ...], result: tuple[int, ...]) -> tuple[GroupedAxes, ...]:
    """Cuts two shapes of as many elements, none of them empty, into the smallest groups that match.

    Example:
        >>> [(group.source, group.result) for group in group_axes((4, 6, 5), (2, 12, 5))]
        [((4, 6), (2, 12)), ((5,), (5,))]
    """
    groups: list[GroupedAxes] = []
    before = after = 0
    while before < len(source) or after < len(result):
        before_end, after_end = min(before + 1, len(source)), min(after + 1, len(result))
        while (left := prod(source[before:before_end])) != (right := prod(result[after:after_end])):
            if left < right:
                before_end += 1
            else:
                after_end += 1
        groups.append(GroupedAxes(source[before:before_end], result[after:after_end], after))
        before, after = before_end, after_end
    return tuple(groups)
