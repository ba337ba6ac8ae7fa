"""Terms: the probe loss of one tie on one block, tied and untied, and the gradients of both.

The loss is `L = s + S/2 tanh(s/S)` with `s` the sum of `a x (1 + b x/w)` over the elements
`x` of the alias and of the leaves it follows from: `a` and `b` are drawn for each path and
element, `w` is a power of two near the element as it is in the tied file, and `S` a constant
of about the size of `s`. Its gradient is `a (1 + 2 b x/w)`, up to a factor that depends on
`s` alone. It is nonlinear, has a slope at zero, and moves by about as much for one unit in
the last place of any element, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tiecli.leaves import DTYPES, DType
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
    """What is gathered over the blocks of a tile, element by element: maxima and sums.

    Each has one array for each leaf that the alias follows from, and of its shape.

    Attributes:
        difference: How far the tied gradient and the sum that it must be lie apart.
        source: The untied gradient at the leaf, in absolute value.
        pulled: The same of the alias, taken back.
        tied: Terms of the leaf and of the alias, as the tied file has them.
        untied: Terms of the leaf in the original.
        alias: Terms of the alias in the original.
        masked: How many elements of the alias were left out; empty where nobody asks.
    """

    difference: tuple[Any, ...]
    source: tuple[Any, ...]
    pulled: tuple[Any, ...]
    tied: tuple[Any, ...]
    untied: tuple[Any, ...]
    alias: tuple[Any, ...]
    masked: tuple[Any, ...]


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
        moved = _apply(plan, plan.steps, values)
        if plan.rounded:
            # The value is the rounded one; its derivative is that of the exact one.
            moved = expected.values + (moved - jax.lax.stop_gradient(moved))
        return own(values), of_alias(moved)

    (own_tied, alias_tied), (tied_gradients,) = _with_gradient(tied, [found.values for found in written])
    own_untied, (gradients,) = _with_gradient(own, original)
    alias_untied, (alias_gradient,) = _with_gradient(of_alias, alias_original)
    pulled = _pull_back(plan, alias_gradient)
    differences = [
        found - (mine + theirs) for found, mine, theirs in zip(tied_gradients, gradients, pulled, strict=True)
    ]
    tied_terms = [sum(pair) for pair in zip(_totals(plan, own_tied), _bring_back(plan, alias_tied), strict=True)]
    return Sums(
        _sizes(plan, differences),
        _sizes(plan, gradients),
        _sizes(plan, pulled),
        tuple(tied_terms),
        tuple(_totals(plan, own_untied)),
        tuple(_bring_back(plan, alias_untied)),
        () if alias_mask is None else (jnp.sum(alias_mask, dtype=jnp.int32),),
    )


def _decode(plan: Plan, bits: Any, part: Part) -> Decoded:
    return decode(bits, part.form, plan.top, wide=plan.wide)


def _terms(values: Any, coefficients: Coefficients, weights: Any, mask: Any) -> Any:
    import jax.numpy as jnp

    amplitude, product = coefficients
    if mask is not None:
        values, weights = jnp.where(mask, 0.0, values), jnp.where(jnp.isfinite(weights), weights, 1.0)
    return values * (amplitude + product * weights * values)


def _mask(plan: Plan, values: Any, other: Any) -> Any:
    """Finds what is infinite, or no number, on both sides alike; None where nobody asks."""
    import jax.numpy as jnp

    if not plan.masks:
        return None
    size, other_size = jnp.abs(values), jnp.abs(other)
    return (size >= plan.top) & ((values == other) | ((size > plan.top) & (other_size > plan.top)))


def _sizes(plan: Plan, gradients: Sequence[Any]) -> tuple[Any, ...]:
    """Absolute values; of a complex element, that of the larger part."""
    import jax.numpy as jnp

    pairs = zip(gradients, plan.sources, strict=True)
    return tuple(jnp.abs(x).max(-1) if part.form == "c64" else jnp.abs(x) for x, part in pairs)


def _totals(plan: Plan, terms: Sequence[Any]) -> list[Any]:
    """Terms of the leaves, of both parts of a complex element together."""
    pairs = zip(terms, plan.sources, strict=True)
    return [_scaled(plan, x.sum(-1) if part.form == "c64" else x) for x, part in pairs]


def _bring_back(plan: Plan, terms: Any) -> list[Any]:
    """Adds terms of the alias up where the elements come from, so that all sums are of one shape."""
    terms = _scaled(plan, terms.sum(-1) if plan.alias.form == "c64" else terms)
    return _fold_back(plan, _moves(plan), terms, DTYPES["F64"])


def _scaled(plan: Plan, terms: Any) -> Any:
    return terms * _UNIT if "f64" in (plan.alias.form, *(part.form for part in plan.sources)) else terms


def _moves(plan: Plan) -> tuple[Step, ...]:
    return tuple(step for step in plan.steps if not isinstance(step, Scale | Negate | Conjugate))


def _expect(plan: Plan, block: Tile, written: Sequence[Decoded]) -> Decoded:
    """Computes what the alias is in the tied file."""
    import jax.numpy as jnp

    if plan.rounded:
        return _decode(plan, block.rounded, plan.alias)
    weights = [found.weights for found in written]
    if plan.alias.form == "c64" and plan.sources[0].form != "c64":
        weights = [jnp.stack([found, jnp.full_like(found, _LARGEST_WEIGHT)], -1) for found in weights]
    values = _apply(plan, plan.steps, [found.values for found in written])
    return Decoded(values, _apply(plan, _moves(plan), weights))


def _apply(plan: Plan, steps: Sequence[Step], values: Sequence[Any]) -> Any:
    """Applies steps in float64; complex elements come and go as pairs."""
    import jax.numpy as jnp

    is_complex = plan.alias.form == "c64"
    arrays = [_as_complex(array, array.ndim > len(plan.sources[0].block)) if is_complex else array for array in values]
    for step in steps:
        arrays = [apply_step(step, arrays, plan.alias.spec, jnp)]
    return jnp.stack([jnp.real(arrays[0]), jnp.imag(arrays[0])], -1) if is_complex else arrays[0]


def _as_complex(array: Any, is_pair: bool) -> Any:
    import jax.numpy as jnp
    from jax import lax

    return lax.complex(array[..., 0], array[..., 1]) if is_pair else lax.complex(array, jnp.zeros_like(array))


def _pull_back(plan: Plan, gradient: Any) -> list[Any]:
    """Takes the alias's gradient back through the adjoints, which are not derived from the steps but written."""
    import jax.numpy as jnp

    if plan.alias.form != "c64":
        return _fold_back(plan, plan.steps, gradient, DTYPES["F64"])
    parts = _fold_back(plan, plan.steps, _as_complex(gradient, is_pair=True), DTYPES["C64"])
    if plan.sources[0].form != "c64":
        return [jnp.real(part) for part in parts]
    return [jnp.stack([jnp.real(part), jnp.imag(part)], -1) for part in parts]


def _fold_back(plan: Plan, steps: tuple[Step, ...], array: Any, dtype: DType) -> list[Any]:
    import jax.numpy as jnp

    sources = [part.spec._replace(dtype=dtype) for part in plan.sources]
    specs = stage_specs(steps, sources)
    parts = [array]
    for position in reversed(range(len(steps))):
        before = sources if position == 0 else [specs[position]]
        parts = list(adjoint(Transform(steps[position : position + 1]), parts[0], before, jnp))
    return parts


def _with_gradient(terms: Callable[[Any], Any], values: Any) -> tuple[Any, Any]:
    """Evaluates terms, and differentiates their sum."""
    import jax
    import jax.numpy as jnp

    found, back = jax.vjp(terms, values)
    return found, back(jax.tree.map(jnp.ones_like, found))
