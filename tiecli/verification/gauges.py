"""Gauges: how far gradients at tied leaves are from what they must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tiecli.verification.verdicts import GradientMeasure
from tiecli.verification.wholes import Leaves, Whole


class Gauged(NamedTuple):
    """What was measured of one tie, at one of its canonical leaves; each a largest absolute value.

    Attributes:
        error: Of what was found less what was expected.
        terms: The sum of those of all gradients that add up at this leaf.
        src: Of the leaf's own gradient.
        dst: Of the alias's, taken back through the adjoint.
    """

    error: Any
    terms: Any
    src: Any
    dst: Any


Gauges = dict[str, list[Gauged]]
"""For each tie, by alias, what was measured at each of its canonical leaves."""


def gauge_ties(whole: Whole, own: Leaves, found: Leaves, exact: Leaves, reference: Leaves | None) -> dict[str, Gauges]:
    """Measures every tie; inside `jit`.

    Args:
        whole: The model.
        own: Gradients of the untied loss, at canonical leaves and aliases.
        found: Gradients of the tied loss, at canonical leaves.
        exact: The same without the rounding on disk.
        reference: Gradients of the reference, if there is one.

    Returns:
        Under `loss`, how far what was found is from each leaf's own gradient and, by the
        adjoints, those of its aliases; under `reference`, how far it is from the reference.
    """
    import jax.numpy as jnp

    pulled: dict[str, Leaves] = {}
    for name, tie in whole.wide.items():
        parts = tie.pull_back(own[name], jnp)
        pulled[name] = {str(path): part for path, part in zip(tie.tie.canonicals, parts, strict=True)}
    sums = {name: own[name] for name in whole.canonicals}
    terms = {name: _norm(gradient) for name, gradient in sums.items()}
    for parts_of in pulled.values():
        for name, part in parts_of.items():
            sums[name] = sums[name] + part
            terms[name] = terms[name] + _norm(part)

    def gauge(gradients: Leaves, expected: Leaves) -> Gauges:
        """Puts together what was measured of each tie."""
        errors = {name: _norm(gradients[name] - expected[name]) for name in whole.canonicals}
        return {
            alias: [Gauged(errors[name], terms[name], _norm(own[name]), _norm(part)) for name, part in parts_of.items()]
            for alias, parts_of in pulled.items()
        }

    gauged = {"loss": gauge(found, sums)}
    return gauged if reference is None else gauged | {"reference": gauge(exact, reference)}


def worst_measure(gauged: Sequence[Gauged], limit: float) -> GradientMeasure:
    """Gives what was measured at that of a tie's canonical leaves where it is farthest off.

    Args:
        gauged: What was measured at each.
        limit: What an error may be at most, relative to the terms.
    """
    measures = [
        GradientMeasure(float(at.error), limit * float(at.terms), float(at.src), float(at.dst)) for at in gauged
    ]
    # A NaN is farther off than any number.
    return max(measures, key=lambda measure: (not measure.holds, measure.error - measure.bound))


def measure_reach(leaves: Leaves, gradients: Leaves) -> float:
    """Measures how much a loss is made up of: to first order, what each element adds to it."""
    import numpy as np

    return float(sum(np.abs(np.asarray(leaves[name]) * np.asarray(gradients[name])).sum() for name in leaves))


def _norm(array: Any) -> Any:
    """The largest absolute value; NaN if there is one, 0 if the array is empty."""
    import jax.numpy as jnp

    return jnp.max(jnp.abs(array), initial=0.0)
