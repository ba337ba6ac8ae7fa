"""Ambiguity: which other transforms the same bytes fit, so that they cannot tell which is meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiecli.boxes import Box, split_boxes
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare.blockwise import LeafSource
from tiecli.errors import TransformSyntaxError
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform, compose, permutations_that_fit
from tiecli.transforms.blocks import evaluate_block
from tiecli.transforms.steps import Conjugate, Flip, Structural


def find_fits(reader: CheckpointReader, tie: Tie) -> tuple[Transform, ...]:
    """Finds the transforms, the stated one first, that make the same alias of its canonical leaves.

    Tried are the stated transform followed by each permutation of axes that keeps the shape,
    by a flip of each axis, and, of complex leaves, by each permutation and `conj`. A leaf that
    fits several is symmetric, constant, zero or the like, and only a model that knows the tie
    by itself can say which is meant. What does the same to every leaf is no other transform:
    layers that repeat one leaf may be flipped.

    Args:
        reader: The tied checkpoint.
        tie: A tie whose bytes hold.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    sources = tuple(reader.specs()[path] for path in tie.canonicals)
    spec = tie.transform.spec(sources)
    fitting = [tie.transform]
    for after in _vocabulary(spec):
        try:
            other = compose(tie.transform, after)
        except TransformSyntaxError:
            # The stated one is as long as one can be, so that nobody could state this one.
            continue
        if other in fitting or not _make_the_same(reader, tie, other, spec):
            continue
        if not any(_is_same_map(fit, other, sources) for fit in fitting):
            fitting.append(other)
    return tuple(fitting)


def _make_the_same(reader: CheckpointReader, tie: Tie, other: Transform, spec: LeafSpec) -> bool:
    sources = [LeafSource(reader, path) for path in tie.canonicals]
    alike = _are_equal if _is_conjugated(tie.transform) == _is_conjugated(other) else _are_equal_but_for_zeros
    return all(
        alike(_bits_of(evaluate_block(tie.transform, sources, box)), _bits_of(evaluate_block(other, sources, box)))
        for box in split_boxes(spec)
    )


def _bits_of(block: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8)


def _are_equal(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bool:
    return left.data == right.data


def _are_equal_but_for_zeros(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> bool:
    """Whether blocks of complex elements are the same, zeros of either sign alike.

    `conj` turns the sign of each imaginary zero, as those on the diagonal of a Hermitian matrix.
    """
    first, second = left.view(np.float32), right.view(np.float32)
    bits = left.view(np.uint32) == right.view(np.uint32)
    return bool((bits | ((first == 0) & (second == 0))).all())


def _is_conjugated(transform: Transform) -> bool:
    return sum(isinstance(step, Conjugate) for step in transform.steps) % 2 == 1


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A leaf whose elements are numbered in C order.

    Attributes:
        spec: Its shape; of integers.
        first: The number of the first element.
    """

    spec: LeafSpec
    first: int

    def read(self, box: Box) -> NDArray[np.int64]:
        """Gives the numbers in one block."""
        numbers = np.full((), self.first, np.int64)
        for axis, (start, stop) in enumerate(box):
            numbers = numbers[..., None] + np.arange(start, stop) * prod(self.spec.shape[axis + 1 :])
        return numbers


def _is_same_map(left: Transform, right: Transform, sources: Sequence[LeafSpec]) -> bool:
    """Whether two transforms, alike but for `conj`, make the same of every leaf."""
    if _is_conjugated(left) != _is_conjugated(right):
        return False
    numbered: list[_Numbered] = []
    first = 1  # what is padded is 0
    for source in sources:
        numbered.append(_Numbered(LeafSpec(source.shape, DTYPES["I64"]), first))
        first += source.size
    left, right = _moves_of(left), _moves_of(right)
    made = left.spec([source.spec for source in numbered])
    return all(
        np.array_equal(evaluate_block(left, numbered, box), evaluate_block(right, numbered, box))
        for box in split_boxes(made)
    )


def _moves_of(transform: Transform) -> Transform:
    return Transform(tuple(step for step in transform.steps if isinstance(step, Structural)))


def _vocabulary(spec: LeafSpec) -> Iterator[Transform]:
    """Yields what may follow a transform without changing shape or dtype."""
    if spec.dtype.kind == "packed" or spec.size == 0:
        return
    permutations = permutations_that_fit(spec, spec)
    yield from permutations
    if spec.dtype.kind == "complex":
        yield from (compose(permutation, Transform((Conjugate(),))) for permutation in permutations)
    for axis, length in enumerate(spec.shape):
        if length > 1:
            yield Transform((Flip(axis),))
