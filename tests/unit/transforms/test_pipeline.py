"""Transforms: composing, classing, inverting, and listing the permutations that fit."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tiecli.errors import TransformMismatchError, TransformSyntaxError
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import SAME, TRANSPOSE, Exactness, Transform, compose, permutations_that_fit
from tiecli.transforms.arrays import forward
from tiecli.transforms.steps import Concat, Negate


def leaf(*shape: int, dtype: str = "F32") -> LeafSpec:
    return LeafSpec(shape, DTYPES[dtype])


def test_compose_pipes_and_cancels() -> None:
    """What the pipe of two transforms does is written in canonical form."""
    assert compose(TRANSPOSE, TRANSPOSE) == SAME
    assert str(compose(Transform.parse("stack(0)"), TRANSPOSE)) == "stack(0) | transpose"
    assert compose(SAME, Transform.parse("stack(0)")) == Transform.parse("stack(0)")


def test_compose_refuses_a_join_in_the_middle() -> None:
    """What takes several sources cannot follow one."""
    with pytest.raises(TransformMismatchError, match=r"`concat\(0\)` takes several sources, and cannot follow `neg`"):
        compose(Transform.parse("neg"), Transform.parse("concat(0)"))


def test_a_transform_made_of_steps_is_checked_like_a_parsed_one() -> None:
    """A transform that exists is a valid one."""
    with pytest.raises(TransformSyntaxError, match="take several sources, so they stand first"):
        Transform((Negate(), Concat(0)))


@pytest.mark.parametrize(
    ("text", "is_same", "takes_many", "is_structural"),
    [
        ("same", True, False, True),
        ("transpose | [:3] | pad(0,0,1)", False, False, True),
        ("concat(0)", False, True, True),
        ("stack(0) | neg", False, True, False),
        ("cast(F16)", False, False, False),
        ("conj", False, False, False),
    ],
)
def test_predicates(text: str, is_same: bool, takes_many: bool, is_structural: bool) -> None:
    """The three questions that callers ask have plain answers."""
    transform = Transform.parse(text)

    assert (transform.is_same, transform.takes_many, transform.is_structural) == (is_same, takes_many, is_structural)


@pytest.mark.parametrize(
    ("text", "source", "exactness", "inverse"),
    [
        ("same", leaf(3), Exactness.BIJECTION, "same"),
        ("transpose(1,2,0)", leaf(2, 3, 4), Exactness.BIJECTION, "transpose(2,0,1)"),
        ("'(h k) d -> h (d k)', h=2", leaf(6, 4), Exactness.BIJECTION, "'a (b c) -> (a c) b', b=4, c=3"),
        ("reshape(-1)", leaf(2, 3), Exactness.BIJECTION, "reshape(2,3)"),
        ("flip(0)", leaf(2, 3), Exactness.BIJECTION, "flip(0)"),
        ("[0, :]", leaf(1, 3), Exactness.BIJECTION, "reshape(1,3)"),
        ("[:3, ::-1]", leaf(3, 3), Exactness.BIJECTION, "reshape(3,3) | flip(1)"),
        ("neg", leaf(3), Exactness.BIJECTION, "neg"),
        ("conj", leaf(3, dtype="C64"), Exactness.BIJECTION, "conj"),
        ("cast(F32)", leaf(3), Exactness.BIJECTION, "cast(F32)"),
        ("pad(1,2,3)", leaf(2, 3), Exactness.INJECTION, "[:, 2:5]"),
        ("repeat(-1,2)", leaf(2, 3), Exactness.INJECTION, "[:, ::2]"),
        ("cast(F64)", leaf(3), Exactness.INJECTION, "cast(F32)"),
        ("cast(I32)", leaf(3, dtype="I8"), Exactness.INJECTION, "cast(I8)"),
        ("cast(C64)", leaf(3), Exactness.INJECTION, None),
        ("[:2]", leaf(3), Exactness.SURJECTION, None),
        ("[0:0:-1]", leaf(1), Exactness.SURJECTION, None),
        ("pad(0,1,1) | [:2]", leaf(3), Exactness.SURJECTION, None),
        ("scale(2)", leaf(3), Exactness.ROUNDING, None),
        ("[:2] | scale(2)", leaf(3), Exactness.ROUNDING, None),
        ("cast(BF16)", leaf(3), Exactness.LOSSY, None),
        ("cast(F32)", leaf(3, dtype="I32"), Exactness.LOSSY, None),
        ("cast(I32)", leaf(3), Exactness.LOSSY, None),
        ("cast(BOOL)", leaf(3, dtype="U8"), Exactness.LOSSY, None),
        ("cast(F8_E8M0)", leaf(3, dtype="F8_E5M2"), Exactness.LOSSY, None),
    ],
)
def test_class_and_inverse(text: str, source: LeafSpec, exactness: Exactness, inverse: str | None) -> None:
    """Each step has its class, and an inverse exactly where it keeps every bit of one source."""
    transform = Transform.parse(text)
    found = transform.inverse([source])

    assert transform.exactness([source]) is exactness
    assert (None if found is None else str(found)) == inverse


def test_joining_is_a_bijection_without_an_inverse_of_one_result() -> None:
    """`concat` and `stack` keep every bit, but give back several leaves."""
    sources = [leaf(2, 3), leaf(4, 3)]
    transform = Transform.parse("concat(0) | transpose")

    assert transform.exactness(sources) is Exactness.BIJECTION
    assert transform.inverse(sources) is None


@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 4), (4, 1), (1, 1), (2, 2, 3), (2, 1, 2), (2, 2, 2, 2), (0, 0)])
def test_permutations_that_fit_are_all_maps_once(shape: tuple[int, ...]) -> None:
    """Every permutation onto the alias's shape is listed as a map, and no map twice."""
    array = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    for target in {tuple(shape[axis] for axis in axes) for axes in permutations(range(len(shape)))}:
        maps = {
            array.transpose(axes).tobytes()
            for axes in permutations(range(len(shape)))
            if tuple(shape[axis] for axis in axes) == target
        }

        found = permutations_that_fit(leaf(*shape), leaf(*target))

        assert len(found) == len(maps)
        assert {forward(transform, [array]).tobytes() for transform in found} == maps
        assert (target != shape) or found[0] == SAME


def test_permutations_need_equal_dtypes_and_stop_at_rank_four() -> None:
    """What differs in more than its axes has no permutation; deep leaves only have `same`."""
    assert permutations_that_fit(leaf(2, 3), leaf(3, 2, dtype="F16")) == ()
    assert permutations_that_fit(leaf(2, 3), leaf(6)) == ()
    assert permutations_that_fit(leaf(2, 2, dtype="F4"), leaf(2, 2, dtype="F4")) == (SAME,)
    assert permutations_that_fit(leaf(2, 2, 2, 2, 2), leaf(2, 2, 2, 2, 2)) == (SAME,)
    assert permutations_that_fit(leaf(2, 2, 2, 2, 3), leaf(3, 2, 2, 2, 2)) == ()
