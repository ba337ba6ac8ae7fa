"""Pulling back: adjoints as moves and factors are the adjoints that arrays have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.strategies_transforms import Pipe, pipes, small_integers
from tiecli.boxes import Box
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, forward
from tiecli.transforms.blocks import evaluate_block
from tiecli.transforms.pulling import find_pull_backs, find_slot_transform

F32, F64, C64 = (DTYPES[name] for name in ("F32", "F64", "C64"))
exact_scales = st.sampled_from([-1.0, 2.0, -4.0, 0.5, 3.0])


class Array:
    """An array, as the block-wise transforms read leaves."""

    def __init__(self, values: NDArray[np.generic], spec: LeafSpec) -> None:
        self.values = values
        self.spec = spec

    def read(self, box: Box) -> NDArray[np.generic]:
        """Reads one block."""
        return self.values[tuple(slice(start, stop) for start, stop in box)]


def pull_back(
    transform: Transform, cotangent: NDArray[np.generic], sources: Sequence[LeafSpec], part: int
) -> NDArray[np.generic] | None:
    """Adds the terms up, each evaluated as one block."""
    terms = find_pull_backs(transform, sources, part)
    if terms is None:
        return None
    dtype = F64 if sources[0].dtype.kind == "float" else C64
    source = Array(cotangent, LeafSpec(cotangent.shape, dtype))
    total = np.zeros(sources[part].shape, cotangent.dtype)
    for term in terms:
        assert term.transform.spec([source.spec]).shape == sources[part].shape
        if total.size:
            block = evaluate_block(term.transform, [source], tuple((0, length) for length in total.shape))
            total += (block.conj() if term.conjugates else block) * term.factor
    return total


@given(st.data(), pipes(dtypes=[F64], casts=[F64, F32], scales=exact_scales))
@settings(max_examples=400)
def test_moves_and_factors_are_the_adjoint(data: st.DataObject, pipe: Pipe) -> None:
    """Of every pipe, whether it begins with one leaf or joins several, and of every leaf of it."""
    transform = Transform(pipe.steps)
    cotangent = data.draw(small_integers(LeafSpec(transform.spec(pipe.sources).shape, F64)))

    for part, expected in enumerate(adjoint(transform, cotangent, pipe.sources)):
        found = pull_back(transform, cotangent, pipe.sources, part)
        assert found is None or np.array_equal(found, expected)


@given(st.data(), pipes(dtypes=[C64], casts=[C64], scales=exact_scales, joins=False))
def test_complex_leaves_are_conjugated_as_they_are(data: st.DataObject, pipe: Pipe) -> None:
    """The adjoint of a conjugation is itself, wherever it stands."""
    transform = Transform(pipe.steps)
    cotangent = data.draw(small_integers(transform.spec(pipe.sources)))
    found = pull_back(transform, cotangent, pipe.sources, 0)

    assert found is None or np.array_equal(found, adjoint(transform, cotangent, pipe.sources)[0])


@pytest.mark.parametrize(
    ("text", "shapes", "terms"),
    [
        ("transpose | scale(0.5) | neg", [(3, 4)], 1),
        ("[1:3] | cast(bf16)", [(5, 2)], 1),
        ("[2] | transpose", [(3, 4, 5)], 1),
        ("[::-1]", [(4,)], 1),
        ("pad(0,1,2) | reshape(-1)", [(3, 2)], 1),
        ("repeat(0,3)", [(2, 2)], 3),
        ("concat(1) | transpose", [(2, 3), (2, 1), (2, 2)], 1),
        ("stack(-1) | [:, 1:]", [(2, 3), (2, 3)], 1),
        ("[::2]", [(6,)], None),
        ("repeat(0,65)", [(2,)], None),
    ],
)
def test_how_many_terms_an_adjoint_has(text: str, shapes: list[tuple[int, ...]], terms: int | None) -> None:
    """One, but for what sums copies; none for what takes every other layer, or has very many copies."""
    sources = [LeafSpec(shape, F32) for shape in shapes]
    for part in range(len(sources)):
        found = find_pull_backs(Transform.parse(text), sources, part)
        assert (None if found is None else len(found)) == terms


@given(st.data(), pipes(dtypes=[F64], casts=[F64], scales=exact_scales))
def test_gradients_and_their_squares_follow_as_their_leaf_does(data: st.DataObject, pipe: Pipe) -> None:
    """Where nothing is summed: squares by the transform of squares, absolute values by that of those."""
    transform = Transform(pipe.steps)
    values = [data.draw(small_integers(source)) for source in pipe.sources]
    made = forward(transform, values)
    dtypes = (F64, F64)

    assert np.array_equal(forward(find_slot_transform(transform, dtypes), values), made)
    squared = forward(find_slot_transform(transform, dtypes, "squares"), [value * value for value in values])
    assert np.array_equal(squared, made * made)
    sizes = forward(find_slot_transform(transform, dtypes, "sizes"), [np.abs(value) for value in values])
    assert np.array_equal(sizes, np.abs(made))


def test_slots_of_another_dtype_are_cast_once() -> None:
    """Not as the leaf is, whose rounding is none of a gradient's."""
    transform = Transform.parse("cast(bf16) | transpose")

    assert str(find_slot_transform(transform, (F32, F32))) == "transpose"
    assert str(find_slot_transform(transform, (DTYPES["BF16"], F32), "squares")) == "transpose | cast(F32)"
