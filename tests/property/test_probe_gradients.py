"""What the probe measures tile by tile is what numpy computes of whole leaves, by the formula of the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.property.strategies_transforms import FLOATS, Pipe, pipes
from tests.unit.verification.memory import in_memory
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.arrays import adjoint, forward
from tiecli.transforms.casts import numpy_dtype
from tiecli.transforms.shapes import stage_specs
from tiecli.transforms.steps import Cast
from tiecli.verification.coefficients import AMPLITUDE, FREQUENCY, axis_factors, leaf_key
from tiecli.verification.devices import choose_device, float64
from tiecli.verification.kernels import SLOPE, STATISTICS
from tiecli.verification.loading import Sources
from tiecli.verification.measuring import Tally, measure_jobs
from tiecli.verification.routes import exact_steps, find_route
from tiecli.verification.tiling import TileSize
from tiecli.verification.views import list_jobs

pytest.importorskip("jax", reason="jax comes with the extra `verify`")

Array = NDArray[Any]
ALIAS = KeyPath(("alias",))
REAL = [dtype for dtype in FLOATS if dtype.name != "F64"]


def draw_coefficients(path: KeyPath, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Amplitudes, and those times the frequencies."""
    import jax.numpy as jnp

    key = leaf_key(path)
    found = []
    with float64():
        words = jnp.array([key >> 32, key & 0xFFFFFFFF], jnp.uint32)
        for kind in (AMPLITUDE, FREQUENCY):
            product = np.ones(shape)
            for axis, length in enumerate(shape or (1,)):
                factors = np.asarray(axis_factors(words, kind, axis, jnp.arange(length), max(len(shape), 1)))
                product = product * factors.reshape([-1 if at == axis else 1 for at in range(len(shape))])
            found.append(product)
    return found[0], found[1] * SLOPE


def weigh(values: Array) -> Array:
    """One over the power of two below each value, which is no smaller than that of the smallest normal float32."""
    exponents = np.frexp(values)[1] - 1
    return np.ldexp(1.0, np.minimum(-np.where(values == 0, -999, exponents), 127).clip(-126))


def gradients(x: Array, weights: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
    """Terms of the loss, and their derivatives."""
    amplitude, product = pair
    return x * (amplitude + product * weights * x), amplitude + 2 * product * weights * x


@st.composite
def cases(draw: st.DrawFn) -> tuple[Pipe, list[Array], list[Array], Array, TileSize]:
    """Draws a pipe, leaves of the tied file and of the original, and how large tiles are."""
    scales = st.sampled_from([-1.5, 0.25, 0.3, 1e-3])
    pipe = draw(
        pipes(dtypes=REAL, casts=REAL, scales=scales).filter(
            lambda pipe: all(spec.size for spec in stage_specs(Transform(pipe.steps).steps, pipe.sources))
        )
    )
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(all="ignore"):
        tied = [np.abs(dice.normal(size=spec.shape)).astype(numpy_dtype(spec.dtype)) for spec in pipe.sources]
        made = forward(Transform(pipe.steps), tied)
    # What is not finite is left out, of which the formula knows nothing.
    assume(np.isfinite(np.asarray(made).astype(np.float64)).all())
    original = [array.copy() for array in tied]
    for array in (*original, made := np.array(made, order="C")):
        if array.size and draw(st.booleans()):
            array.reshape(-1)[dice.integers(array.size)] = array.dtype.type(0.625)
    block = draw(st.integers(1, 16))
    return pipe, tied, original, made, TileSize(block * draw(st.integers(1, 4)), block)


@given(cases())
@settings(max_examples=12)
def test_tiles_add_up_to_the_formula(case: tuple[Pipe, list[Array], list[Array], Array, TileSize]) -> None:
    """The largest difference, the largest gradients, and the terms of both sides."""
    pipe, tied, original, alias, size = case
    paths = tuple(KeyPath(("leaf", str(number))) for number in range(len(pipe.sources)))
    tie = Tie(ALIAS, paths, Transform(pipe.steps))
    names = {path: path.spelling for path in paths}
    readers = [
        in_memory({names[path]: array for path, array in zip(paths, arrays, strict=True)} | extra)
        for arrays, extra in ((tied, {}), (original, {"alias": alias}))
    ]
    specs = dict(zip(paths, pipe.sources, strict=True))

    tally = Tally()
    for job, row in measure_jobs(list_jobs([tie], specs, size, wide=True), Sources(*readers), choose_device("cpu")):
        tally.add(job, row)

    table = dict(zip(STATISTICS, np.array(tally.rows).T, strict=True))
    expected = compute(tie, specs, tied, original, alias)
    for name, value in expected.items():
        found = table[name].max() if name in STATISTICS[:3] else table[name].sum()
        assert found == pytest.approx(value, rel=1e-9, abs=1e-12 * (1 + expected["source"])), name


def compute(
    tie: Tie, specs: dict[KeyPath, LeafSpec], tied: list[Array], original: list[Array], alias: Array
) -> dict[str, float]:
    """Computes the statistics of whole leaves, without padding, which has no part in them."""
    sources = list(specs.values())
    route = find_route(tie, 0, specs)
    steps = [step for step in exact_steps(tie.transform, sources) if not isinstance(step, Cast)]
    linear = Transform(tuple(steps))
    wide = [spec._replace(dtype=DTYPES["F64"]) for spec in sources]
    marks = forward(linear, [np.ones(spec.shape) for spec in wide]) != 0
    with np.errstate(all="ignore"):
        made = np.asarray(forward(tie.transform, tied)).astype(np.float64)
    weights = [weigh(array.astype(np.float64)) for array in tied]
    alias_weights = weigh(made) if route.rounds else np.abs(forward(linear, weights))
    pair = draw_coefficients(tie.alias, made.shape)
    amplitude = 2.0 ** -round(np.log2(route.factor))
    pair = (pair[0] * amplitude * marks, pair[1] * amplitude * marks)
    own = [draw_coefficients(path, spec.shape) for path, spec in specs.items()]
    sides = []
    for leaves, made_there in ((tied, made), (original, alias.astype(np.float64))):
        found = [gradients(x.astype(np.float64), w, c) for x, w, c in zip(leaves, weights, own, strict=True)]
        terms, slope = gradients(made_there, alias_weights, pair)
        pulled = adjoint(linear, slope, wide)
        sides.append((sum(term.sum() for term, _ in found) + terms.sum(), [grad for _, grad in found], pulled))
    (tied_sum, tied_own, tied_pulled), (untied_sum, untied_own, untied_pulled) = sides
    largest = [
        (np.abs(t + tp - u - up).max(initial=0), np.abs(u).max(initial=0), np.abs(up).max(initial=0))
        for t, tp, u, up in zip(tied_own, tied_pulled, untied_own, untied_pulled, strict=True)
    ]
    maxima = np.array(largest).max(axis=0)
    return dict(zip(("difference", "source", "pulled", "tied", "untied"), [*maxima, tied_sum, untied_sum], strict=True))
