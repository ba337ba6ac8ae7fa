"""Values: the state that a canonical leaf gets, streamed block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box, split_boxes
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare.blockwise import LeafSource
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint
from tiecli.transforms.blocks import evaluate_block
from tiecli.transforms.casts import numpy_dtype
from tiecli.transforms.pulling import find_pull_back


@dataclass(frozen=True, slots=True)
class Contribution:
    """What an alias's slot adds to its canonical leaf's.

    Attributes:
        slot: The alias's slot.
        transform: How it would follow from the canonical leaves' slots.
        sources: What those are.
        part: Which of them is meant.
    """

    slot: KeyPath
    transform: Transform
    sources: tuple[LeafSpec, ...]
    part: int


def merged_blocks(
    reader: CheckpointReader, slot: KeyPath, contributions: tuple[Contribution, ...]
) -> Iterator[memoryview]:
    """Yields a slot with what aliases add to it, summed in float64 and rounded once.

    Args:
        reader: The checkpoint.
        slot: The canonical leaf's slot.
        contributions: What is added.
    """
    spec = reader.specs()[slot]
    dtype = numpy_dtype(spec.dtype)
    wide = np.complex128 if spec.dtype.kind == "complex" else np.float64
    added = [_Added(reader, contribution) for contribution in contributions]
    for box in split_boxes(spec):
        total = reader.read_block(slot, box).astype(wide)
        for one in added:
            total += one.read(box).astype(wide)
        with np.errstate(over="ignore"):
            yield np.ascontiguousarray(total.astype(dtype)).reshape(-1).view(np.uint8).data


def zero_blocks(spec: LeafSpec) -> Iterator[memoryview]:
    """Yields a leaf of zeros."""
    for box in split_boxes(spec):
        shape = [stop - start for start, stop in box]
        yield np.zeros(shape, numpy_dtype(spec.dtype)).reshape(-1).view(np.uint8).data


def is_zero(reader: CheckpointReader, path: KeyPath) -> bool:
    """Whether every element of a leaf is zero, of either sign."""
    return not any(reader.read_block(path, box).any() for box in split_boxes(reader.specs()[path]))


class _Added:
    """One contribution; what cannot be pulled back block by block is pulled back whole, once."""

    def __init__(self, reader: CheckpointReader, contribution: Contribution) -> None:
        self._source = LeafSource(reader, contribution.slot)
        self._back = None
        self._whole: NDArray[Any] | None = None
        if len(contribution.sources) == 1:
            self._back = find_pull_back(contribution.transform, contribution.sources[0])
        if self._back is None:
            self._whole = _pull_whole(reader, contribution)

    def read(self, box: Box) -> NDArray[Any]:
        """Reads one block of what is added."""
        if self._back is None:
            assert self._whole is not None
            return self._whole[tuple(slice(start, stop) for start, stop in box)]
        block = evaluate_block(self._back.transform, [self._source], box)
        block = block if block.dtype.kind == "c" else block.astype(np.float64)
        if self._back.conjugates:
            block = block.conj()
        return block * self._back.factor if self._back.factor != 1.0 else block


def _pull_whole(reader: CheckpointReader, contribution: Contribution) -> NDArray[Any]:
    """Pulls a whole slot back, which takes as much memory as float64 does."""
    spec = reader.specs()[contribution.slot]
    whole = reader.read_block(contribution.slot, tuple((0, length) for length in spec.shape))
    wide = whole if spec.dtype.kind == "complex" else whole.astype(np.float64)
    pulled: NDArray[Any] = adjoint(contribution.transform, wide, contribution.sources)[contribution.part]
    return pulled
