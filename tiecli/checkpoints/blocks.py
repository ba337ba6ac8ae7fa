"""Blocks: reading a box of a stored leaf as an array, with few and long reads."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box
from tiecli.errors import TransformMismatchError
from tiecli.leaves import DType, LeafSpec

# Reading past what is wanted pays as long as a quarter of it is wanted, or where skipping
# it takes a call of its own, which takes as long as this many bytes.
_WORTHWHILE = 4
_CALL_NBYTES = 16 << 10
_BUFFER = 4 << 20


class Readable(Protocol):
    """Bytes that can be read at any place: of a file, or decoded."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fills a buffer from byte `offset` on."""


def numpy_dtype(dtype: DType, name: str) -> np.dtype[np.generic]:
    """Finds the numpy dtype of a leaf; ml_dtypes is imported only for what it brings.

    Args:
        dtype: The element type.
        name: The leaf's name, for the error.

    Raises:
        TransformMismatchError: Its elements are smaller than a byte.
    """
    if dtype.kind == "packed":
        raise TransformMismatchError(
            f"`{name}` holds {dtype}, whose elements are smaller than a byte: they can be compared and copied only",
            "Tie it with `--transform same`.",
        )
    try:
        return np.dtype(dtype.numpy_name)
    except TypeError:
        import ml_dtypes

        scalar: type[np.generic] = getattr(ml_dtypes, dtype.numpy_name)
        return np.dtype(scalar)


def read_box(file: Readable, spec: LeafSpec, start: int, box: Box, name: str) -> NDArray[np.generic]:
    """Reads the elements inside a box of a leaf that is stored in C order.

    Args:
        file: What it is stored in.
        spec: Its shape and dtype.
        start: Where its bytes begin in the file.
        box: Half-open `(start, stop)` for every axis.
        name: The leaf's name, for errors.

    Raises:
        TransformMismatchError: Its elements are smaller than a byte.
        SourceChangedError: The file is shorter than it was when opened.
        UnreadableFileError: The system refused the read.
    """
    dtype = numpy_dtype(spec.dtype, name)
    if len(box) != len(spec.shape) or any(
        not 0 <= low <= high <= length for (low, high), length in zip(box, spec.shape, strict=True)
    ):
        raise ValueError(f"{box} is no box of `{name}`, which has the shape {spec.shape}")
    out = np.empty([high - low for low, high in box], dtype)
    if out.size == 0:
        return out
    axis, whole = _axis_to_read_along(spec.shape, box, dtype.itemsize)
    # Elements between neighbours along each axis.
    strides = [prod(spec.shape[i + 1 :]) for i in range(len(box))]
    flat = out.reshape((*out.shape[:axis], -1)) if box else out.reshape(1)
    first = box[axis][0] * strides[axis] if box else 0
    for place in product(*(range(high - low) for low, high in box[:axis])):
        element = first + sum((box[i][0] + at) * strides[i] for i, at in enumerate(place))
        row = flat[place]
        offset = start + element * dtype.itemsize
        if whole:
            file.read_into(row.view(np.uint8).data, offset)
        else:
            _read_gappy(file, spec.shape[axis + 1 :], row, box[axis:], offset)
    return out


def _axis_to_read_along(shape: tuple[int, ...], box: Box, itemsize: int) -> tuple[int, bool]:
    """Chooses the outermost axis whose span is worth reading in one go.

    Returns:
        The axis, and whether everything in that span is wanted.
    """
    wanted = spanned = 1
    for axis in range(len(box) - 1, 0, -1):
        low, high = box[axis]
        wanted *= high - low
        spanned *= shape[axis]
        if wanted * _WORTHWHILE < spanned and spanned * itemsize > _CALL_NBYTES:
            return axis, wanted // (high - low) == spanned // shape[axis]
    return 0, wanted == spanned


def _read_gappy(file: Readable, trailing: tuple[int, ...], row: NDArray[np.generic], box: Box, offset: int) -> None:
    """Reads whole spans along one axis, and keeps of each what the box wants."""
    rows = box[0][1] - box[0][0]
    width = prod(trailing)
    step = max(1, _BUFFER // (width * row.dtype.itemsize))
    wanted = row.reshape(rows, *(high - low for low, high in box[1:]))
    slices = tuple(slice(low, high) for low, high in box[1:])
    buffer = np.empty((min(step, rows), *trailing), row.dtype)
    for done in range(0, rows, step):
        part = buffer[: min(step, rows - done)]
        file.read_into(part.reshape(-1).view(np.uint8).data, offset + done * width * row.dtype.itemsize)
        wanted[done : done + len(part)] = part[(slice(None), *slices)]
