"""Where a transform has an inverse, it gives every bit back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import COMPUTING, Pipe, pipes, random_bits
from tiecli.leaves import DType, LeafSpec
from tiecli.transforms import Exactness, Transform
from tiecli.transforms.arrays import forward
from tiecli.transforms.exactness import holds_every_value
from tiecli.transforms.steps import Cast


@given(st.data(), pipes(joins=False))
@settings(max_examples=300, deadline=None)
def test_the_inverse_gives_back_every_bit(data: st.DataObject, pipe: Pipe) -> None:
    """`inverse(forward(x)) == x` bit for bit, NaN payloads and negative zeros included."""
    transform = Transform(pipe.steps)
    inverse = transform.inverse(pipe.sources)
    if inverse is None:
        return
    array = data.draw(random_bits(pipe.sources[0]))

    assert inverse.spec([transform.spec(pipe.sources)]) == pipe.sources[0]
    assert forward(inverse, [forward(transform, [array])]).tobytes() == array.tobytes()


@given(pipes(joins=False, structural=True))
@settings(deadline=None)
def test_a_structural_bijection_has_an_inverse(pipe: Pipe) -> None:
    """No structural transform that keeps every element is left without an inverse."""
    transform = Transform(pipe.steps)

    if transform.exactness(pipe.sources) is Exactness.BIJECTION:
        assert transform.inverse(pipe.sources) is not None


@given(st.data(), st.sampled_from(COMPUTING), st.sampled_from(COMPUTING))
@settings(max_examples=300, deadline=None)
def test_a_widening_cast_is_undone_by_casting_back(data: st.DataObject, source: DType, target: DType) -> None:
    """A cast that is said to hold every value holds every bit pattern."""
    spec = LeafSpec((64,), source)
    if not holds_every_value(target, source) or (target.kind == "complex") != (source.kind == "complex"):
        return
    array = data.draw(random_bits(spec))
    back = forward(Transform((Cast(source),)), [forward(Transform((Cast(target),)), [array])])

    assert back.tobytes() == array.tobytes()
