"""Ambiguity: which other transforms the same bytes fit, so that they cannot tell which is meant."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import transformed_blocks
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform, compose, permutations_that_fit
from tiecli.transforms.steps import Flip


def find_fits(reader: CheckpointReader, tie: Tie) -> tuple[Transform, ...]:
    """Finds the transforms, the stated one first, that make the same alias of its canonical leaves.

    Tried are the stated transform followed by each permutation of axes that keeps the shape,
    and by a flip of each axis. A leaf that fits several is symmetric, constant, zero or the
    like, and only a model that knows the tie by itself can say which is meant.

    Args:
        reader: The tied checkpoint.
        tie: A tie whose bytes hold.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    spec = tie.transform.spec(tuple(reader.specs()[path] for path in tie.canonicals))
    fitting = [tie.transform]
    for after in _vocabulary(spec):
        other = compose(tie.transform, after)
        if other not in fitting and _make_the_same(reader, tie, other, spec):
            fitting.append(other)
    return tuple(fitting)


def _make_the_same(reader: CheckpointReader, tie: Tie, other: Transform, spec: LeafSpec) -> bool:
    stated = transformed_blocks(reader, tie.canonicals, tie.transform, spec)
    made = transformed_blocks(reader, tie.canonicals, other, spec)
    return all(left == right for left, right in zip(stated, made, strict=True))


def _vocabulary(spec: LeafSpec) -> Iterator[Transform]:
    """Yields what may follow a transform without changing shape or dtype."""
    if spec.dtype.kind == "packed" or spec.size < 2:
        return
    yield from permutations_that_fit(spec, spec)
    for axis, length in enumerate(spec.shape):
        if length > 1:
            yield Transform((Flip(axis),))
