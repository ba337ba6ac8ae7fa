"""Terms: the probe loss of one tie on one block, tied and untied, and the gradients of both.

The loss is `L = s + S/2 tanh(s/S)` with `s` the sum of `a x (1 + b/2 x/w)` over the elements
`x` of the alias and of the leaves it follows from: `a` and `b` are drawn for each path and
element, `w` is a power of two near the element as it is in the tied file, and `S` a constant
of about the size of `s`. Its gradient is `a (1 + b x/w)`, up to a factor that depends on `s`
alone. It is nonlinear, has a slope at zero, and moves by about as much for one unit in the
last place of any element, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tiecli.transforms.arrays import adjoint, apply_step
from tiecli.transforms.pipeline import Transform
from tiecli.transforms.shapes import stage_specs
from tiecli.transforms.steps import Conjugate, Negate, Scale, Step
from tiecli.verification.decoding import Decoded, decode
from tiecli.verification.plans import Part, Plan, Tile

Coefficients = tuple[Any, Any]
"""Of each element of a block: `a` and `a b`."""

_LARGEST_WEIGHT = 2.0**127
# Sums of the largest float64s stay finite.
_UNIT = 2.0**-300


class Sums(NamedTuple):
    """What is gathered over the blocks of a tile, element by element: three maxima, then sums."""

    difference: tuple[Any, ...]
    source: tuple[Any, ...]
    pulled: tuple[Any, ...]
    tied: tuple[Any, ...]
    untied: tuple[Any, ...]
    masked: tuple[Any, ...]

    def join(self, other: Sums) -> Sums:
        """Adds a block."""
        import jax
        import jax.numpy as jnp

        maxima = jax.tree.map(jnp.maximum, self[:3], other[:3])
        return Sums(*maxima, *jax.tree.map(jnp.add, self[3:], other[3:]))


def measure_block(plan: Plan, block: Tile, coefficients: Sequence[Coefficients], alias: Coefficients) -> Sums:
    """Measures one block.

    Args:
        plan: What is computed.
        block: The block, as a tile of its own.
        coefficients: Of each of the leaves that the alias follows from.
        alias: Of the alias.
    """
    import jax
    import jax.numpy as jnp

    written = [_decode(plan, bits, part) for bits, part in zip(block.written, plan.sources, strict=True)]
    original = [_decode(plan, bits, part).values for bits, part in zip(block.original, plan.sources, strict=True)]
    alias_original = _decode(plan, block.alias, plan.alias).values
    expected = _expect(plan, block, written)
    masks = [_mask(plan, found.values, other) for found, other in zip(written, original, strict=True)]
    alias_mask = _mask(plan, expected.values, alias_original)

    def own(values: Sequence[Any]) -> list[Any]:
        """The terms of the leaves themselves."""
        return [
            _terms(x, pair, found.weights, mask)
            for x, mask, pair, found in zip(values, masks, coefficients, written, strict=True)
        ]

    def of_alias(values: Any) -> Any:
        """The terms of the alias."""
        return _terms(values, alias, expected.weights, alias_mask)

    def tied(values: Sequence[Any]) -> tuple[list[Any], Any]:
        """The terms of both, as the tied file has them."""
        moved = _forward(plan, values)
        if plan.rounded:
            # The value is the rounded one; its derivative is that of the exact one.
            moved = expected.values + (moved - jax.lax.stop_gradient(moved))
        return own(values), of_alias(moved)

    (own_tied, alias_tied), (tied_gradients,) = _with_gradient(tied, [found.values for found in written])
    own_untied, (gradients,) = _with_gradient(own, original)
    alias_untied, (alias_gradient,) = _with_gradient(of_alias, alias_original)
    pulled = _pull_back(plan, alias_gradient)
    differences = [
        jnp.abs(found - (mine + theirs)) for found, mine, theirs in zip(tied_gradients, gradients, pulled, strict=True)
    ]
    return Sums(
        tuple(differences),
        tuple(jnp.abs(gradient) for gradient in gradients),
        tuple(jnp.abs(part) for part in pulled),
        _joined(plan, own_tied, alias_tied),
        _joined(plan, own_untied, alias_untied),
        () if alias_mask is None else (alias_mask.astype(jnp.int32),),
    )


def _decode(plan: Plan, bits: Any, part: Part) -> Decoded:
    return decode(bits, part.form, plan.top, wide=plan.wide)


def _terms(values: Any, coefficients: Coefficients, weights: Any, mask: Any) -> Any:
    import jax.numpy as jnp

    amplitude, product = coefficients
    if mask is not None:
        values, weights = jnp.where(mask, 0.0, values), jnp.where(jnp.isfinite(weights), weights, 1.0)
    return values * (amplitude + 0.5 * product * (values * weights))


def _mask(plan: Plan, values: Any, other: Any) -> Any:
    """Finds what is infinite, or no number, on both sides alike; None where nobody asks."""
    import jax.numpy as jnp

    if not plan.masks:
        return None
    top = plan.top
    size, other_size = jnp.abs(values), jnp.abs(other)
    return (size >= top) & ((values == other) | ((size > top) & (other_size > top)))


def _joined(plan: Plan, own: Sequence[Any], alias: Any) -> tuple[Any, ...]:
    terms = (own[0] + alias,) if not plan.steps and own[0].shape == alias.shape else (*own, alias)
    return tuple(term * _UNIT for term in terms) if any(_is_double(part) for part in _parts(plan)) else terms


def _parts(plan: Plan) -> tuple[Part, ...]:
    return (*plan.sources, plan.alias)


def _is_double(part: Part) -> bool:
    return part.form == "f64"


def _expect(plan: Plan, block: Tile, written: Sequence[Decoded]) -> Decoded:
    """Computes what the alias is in the tied file."""
    import jax.numpy as jnp

    if plan.rounded:
        return _decode(plan, block.rounded, plan.alias)
    weights = [found.weights for found in written]
    if plan.alias.form == "c64" and plan.sources[0].form != "c64":
        weights = [jnp.stack([found, jnp.full_like(found, _LARGEST_WEIGHT)], -1) for found in weights]
    moves = tuple(step for step in plan.steps if not isinstance(step, Scale | Negate | Conjugate))
    return Decoded(_forward(plan, [found.values for found in written]), _apply(plan, moves, weights))


def _forward(plan: Plan, values: Sequence[Any]) -> Any:
    return _apply(plan, plan.steps, values)


def _apply(plan: Plan, steps: Sequence[Step], values: Sequence[Any]) -> Any:
    """Applies steps in float64; complex elements come and go as pairs."""
    import jax.numpy as jnp

    if plan.alias.form != "c64":
        return _fold(plan, steps, values)
    result = _fold(plan, steps, [_as_complex(array, array.ndim > len(plan.sources[0].block)) for array in values])
    return jnp.stack([jnp.real(result), jnp.imag(result)], -1)


def _fold(plan: Plan, steps: Sequence[Step], arrays: Sequence[Any]) -> Any:
    import jax.numpy as jnp

    for step in steps:
        arrays = [apply_step(step, arrays, plan.alias.spec, jnp)]
    return arrays[0]


def _as_complex(array: Any, is_pair: bool) -> Any:
    import jax.numpy as jnp
    from jax import lax

    return lax.complex(array[..., 0], array[..., 1]) if is_pair else lax.complex(array, jnp.zeros_like(array))


def _pull_back(plan: Plan, gradient: Any) -> list[Any]:
    """Takes the alias's gradient back through the adjoints, which are not derived from the steps but written."""
    import jax.numpy as jnp

    sources = [part.spec._replace(dtype=plan.alias.spec.dtype) for part in plan.sources]
    specs = stage_specs(plan.steps, sources)
    parts = [_as_complex(gradient, is_pair=True) if plan.alias.form == "c64" else gradient]
    for position in reversed(range(len(plan.steps))):
        before = sources if position == 0 else [specs[position]]
        parts = list(adjoint(Transform(plan.steps[position : position + 1]), parts[0], before, jnp))
    if plan.alias.form != "c64":
        return parts
    if plan.sources[0].form != "c64":
        return [jnp.real(part) for part in parts]
    return [jnp.stack([jnp.real(part), jnp.imag(part)], -1) for part in parts]


def _with_gradient(terms: Callable[[Any], Any], values: Any) -> tuple[Any, Any]:
    """Evaluates terms, and differentiates their sum."""
    import jax
    import jax.numpy as jnp

    found, back = jax.vjp(terms, values)
    return found, back(jax.tree.map(jnp.ones_like, found))
