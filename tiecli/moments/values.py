"""Values: the state that a canonical leaf gets, streamed block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import BLOCK_NBYTES, Box, split_boxes
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare.blockwise import LeafSource
from tiecli.errors import StateConflictError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, DType, LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint
from tiecli.transforms.blocks import evaluate_block
from tiecli.transforms.casts import cast_array, numpy_dtype
from tiecli.transforms.pulling import PullBack, find_pull_backs


@dataclass(frozen=True, slots=True)
class Contribution:
    """What an alias's slot adds to its canonical leaf's.

    Attributes:
        slot: The alias's slot.
        transform: How it would follow from the canonical leaves' slots.
        sources: What those are.
        part: Which of them is meant.
        signed: Whether it may hold negative values; squares do not.
    """

    slot: KeyPath
    transform: Transform
    sources: tuple[LeafSpec, ...]
    part: int = 0
    signed: bool = True


def merged_blocks(
    reader: CheckpointReader, slot: KeyPath, contributions: tuple[Contribution, ...], nbytes: int = BLOCK_NBYTES
) -> Iterator[memoryview]:
    """Yields a slot with what aliases add to it, summed in float64 and rounded once.

    Args:
        reader: The checkpoint.
        slot: The canonical leaf's slot.
        contributions: What is added.
        nbytes: How much of the slot to hold at a time.

    Raises:
        StateConflictError: A sum is too large for the slot's dtype, or squares are negative.
    """
    spec = reader.specs()[slot]
    added = [_Added(reader, contribution) for contribution in contributions]
    for box in split_boxes(spec, nbytes):
        total = _widen(reader.read_block(slot, box))
        if not all(one.contribution.signed for one in added):
            _check_signs(slot, total)
        for one in added:
            total = total + one.read(box)
        rounded = _round(total, spec.dtype)
        if (np.isfinite(total) & ~np.isfinite(rounded)).any():
            raise StateConflictError(
                f"`{slot.spelling}` is {spec.dtype}, which cannot hold the sum",
                "Save the optimizer's state in a wider dtype first, or begin it anew with `--state reset`.",
            )
        yield rounded.reshape(-1).view(np.uint8).data


def zero_blocks(spec: LeafSpec) -> Iterator[memoryview]:
    """Yields a leaf of zeros."""
    for box in split_boxes(spec):
        shape = [stop - start for start, stop in box]
        yield np.zeros(shape, numpy_dtype(spec.dtype)).reshape(-1).view(np.uint8).data


def is_within(reader: CheckpointReader, path: KeyPath, bound: float) -> bool:
    """Whether no element of a leaf is larger than a bound, in absolute value."""
    blocks = (reader.read_block(path, box) for box in split_boxes(reader.specs()[path]))
    if not bound:
        return not any(block.any() for block in blocks)
    return all((np.abs(_widen(block)) <= bound).all() for block in blocks)


class _Added:
    """One contribution; what cannot be pulled back block by block is pulled back whole, once."""

    def __init__(self, reader: CheckpointReader, contribution: Contribution) -> None:
        self.contribution = contribution
        self._source = LeafSource(reader, contribution.slot)
        self._terms = find_pull_backs(contribution.transform, contribution.sources, contribution.part)
        self._whole = _pull_whole(reader, contribution) if self._terms is None else None

    def read(self, box: Box) -> NDArray[Any]:
        """Reads one block of what is added."""
        if self._whole is not None:
            return self._whole[tuple(slice(start, stop) for start, stop in box)]
        total: NDArray[Any] = sum(self._read_term(term, box) for term in self._terms or ())  # type: ignore[assignment]
        return total

    def _read_term(self, term: PullBack, box: Box) -> NDArray[Any]:
        block = _widen(evaluate_block(term.transform, [self._source], box))
        if not self.contribution.signed:
            _check_signs(self.contribution.slot, block)
        block = block.conj() if term.conjugates else block
        return block * term.factor if term.factor != 1.0 else block


def _widen(block: NDArray[Any]) -> NDArray[Any]:
    return block.astype(np.complex128 if block.dtype.kind == "c" else np.float64)


def _round(total: NDArray[Any], dtype: DType) -> NDArray[Any]:
    if dtype.kind == "complex":
        return np.ascontiguousarray(total.astype(numpy_dtype(dtype)))
    return np.ascontiguousarray(cast_array(total, DTYPES["F64"], dtype))


def _check_signs(slot: KeyPath, block: NDArray[Any]) -> None:
    """Refuses what goes by the name of squares and is something else."""
    if (block < 0).any():
        raise StateConflictError(
            f"`{slot.spelling}` holds negative values, so it is no sum of squares, and what it is nobody knows",
            "Save the parameters without optimizer state, and tie those.",
        )


def _pull_whole(reader: CheckpointReader, contribution: Contribution) -> NDArray[Any]:
    """Pulls a whole slot back, which takes as much memory as float64 does."""
    spec = reader.specs()[contribution.slot]
    whole = _widen(reader.read_block(contribution.slot, tuple((0, length) for length in spec.shape)))
    if not contribution.signed:
        _check_signs(contribution.slot, whole)
    pulled: NDArray[Any] = adjoint(contribution.transform, whole, contribution.sources)[contribution.part]
    return pulled
