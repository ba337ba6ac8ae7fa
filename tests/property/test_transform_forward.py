"""What a transform says about its result is what it gives; rewriting it changes nothing."""

from __future__ import annotations

import einops
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.strategies_transforms import (
    FLOATS,
    Pipe,
    fitting_patterns,
    pipes,
    random_bits,
    shapes,
    small_integers,
)
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.arrays import apply_step, array_spec, forward
from tiecli.transforms.patterns import axis_name, format_sides
from tiecli.transforms.shapes import step_spec


@given(st.data(), pipes())
@settings(max_examples=200, deadline=None)
def test_spec_is_the_shape_and_dtype_of_the_result(data: st.DataObject, pipe: Pipe) -> None:
    """`spec(sources)` describes `forward(arrays)`."""
    transform = Transform(pipe.steps)
    result = forward(transform, [data.draw(random_bits(source)) for source in pipe.sources])

    assert array_spec(result) == transform.spec(pipe.sources)


@given(
    st.data(),
    pipes(
        dtypes=[DTYPES["F64"], DTYPES["BF16"], DTYPES["C64"], DTYPES["I32"]],
        scales=st.sampled_from([-1.0, 2.0, -8.0, 0.5, 0.1]),
    ),
)
@settings(max_examples=300, deadline=None)
def test_rewriting_to_canonical_form_changes_no_value(data: st.DataObject, pipe: Pipe) -> None:
    """Steps applied one by one, as written, give the bits that the canonical pipe gives."""
    arrays = [data.draw(small_integers(source)) for source in pipe.sources]
    expected = list(arrays)
    specs = list(pipe.sources)
    for step in pipe.steps:
        expected = [apply_step(step, expected, specs[0])]
        specs = [step_spec(step, specs)]

    transform = Transform(pipe.steps)
    found = forward(transform, arrays)

    assert transform.spec(pipe.sources) == specs[0]
    assert found.tobytes() == expected[0].tobytes()


@given(st.data())
@settings(deadline=None)
def test_a_pattern_gives_what_einops_gives(data: st.DataObject) -> None:
    """The shape rule and the rewriting of patterns agree with einops itself."""
    source = LeafSpec(data.draw(shapes), data.draw(st.sampled_from(FLOATS)))
    step = data.draw(fitting_patterns(source.shape))
    array = data.draw(random_bits(source))
    sizes = {axis_name(axis): size for axis, size in enumerate(step.sizes) if size is not None}
    expected = einops.rearrange(array, format_sides(step), **sizes)

    found = forward(Transform((step,)), [array])

    assert found.shape == expected.shape == Transform((step,)).spec([source]).shape
    assert found.tobytes() == expected.tobytes()
