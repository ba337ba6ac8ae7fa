"""Pictures: where two gradients differ, gathered block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.verification.verdicts import DifferencePicture

GRID = (32, 48)
"""Rows and columns of a heat map at most."""

# Exponents of float64 go from -1074, the least subnormal, to 1023.
_LEAST = -1074
_EXPONENTS = 1023 - _LEAST + 1


class DifferencePainter:
    """Gathers the differences of one leaf; memory does not grow with the leaf.

    Example:
        >>> painter = DifferencePainter((2, 3))
        >>> painter.add(((0, 1), (0, 3)), np.array([[0.0, -0.5, 3.0]]))
        >>> painter.picture().histogram, painter.picture().heat
        (((-1, 1), (1, 1)), ((0.0, 0.5, 3.0), (0.0, 0.0, 0.0)))
    """

    __slots__ = ("_counts", "_equal", "_heat", "_plane", "_shape", "_undefined")

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._plane = (1, 1, *shape)[-2:]
        self._heat = np.zeros([min(sides) for sides in zip(self._plane, GRID, strict=True)])
        self._counts = np.zeros(_EXPONENTS, np.int64)
        self._equal = self._undefined = 0

    def add(self, box: Box, difference: NDArray[Any]) -> None:
        """Takes in one block.

        Args:
            box: Where it lies in the leaf.
            difference: What was found there, real or complex; of the box's lengths.
        """
        far = np.abs(difference, dtype=np.float64) if difference.dtype.kind != "c" else np.abs(difference)
        if far.size == 0:
            return
        undefined = ~np.isfinite(far)
        apart = far[~undefined & (far > 0)]
        self._undefined += int(undefined.sum())
        self._equal += far.size - int(undefined.sum()) - apart.size
        # `frexp` gives a fraction of at least a half, and less than one.
        self._counts += np.bincount(np.frexp(apart)[1] - 1 - _LEAST, minlength=_EXPONENTS)
        if apart.size or undefined.any():
            self._heat_up(((0, 1), (0, 1), *box)[-2:], np.where(undefined, np.inf, far))

    def _heat_up(self, box: Box, far: NDArray[Any]) -> None:
        lengths = [stop - start for start, stop in box]
        pooled = far.reshape(-1, *lengths).max(axis=0)
        cells = []
        for axis, (start, stop) in enumerate(box):
            length, count = self._plane[axis], self._heat.shape[axis]
            first, last = start * count // length, (stop - 1) * count // length
            # A cell starts at the least index that falls into it.
            starts = [max(-(-cell * length // count), start) - start for cell in range(first, last + 1)]
            pooled = np.maximum.reduceat(pooled, starts, axis=axis)
            cells.append(slice(first, last + 1))
        part = self._heat[tuple(cells)]
        np.maximum(part, pooled, out=part)

    def picture(self) -> DifferencePicture:
        """Gives what was gathered so far."""
        return DifferencePicture(
            shape=self._shape,
            histogram=tuple((int(at) + _LEAST, int(self._counts[at])) for at in np.flatnonzero(self._counts)),
            equal=self._equal,
            undefined=self._undefined,
            heat=tuple(tuple(row) for row in self._heat.tolist()),
        )
