"""Programs: losses of the user's own, traced once, compiled once, and what they give at a point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np

from tiecli.errors import LossError
from tiecli.verification.gauges import gauge_ties
from tiecli.verification.importing import blaming, import_function, word_type
from tiecli.verification.precision import epsilon_of, narrowest_float
from tiecli.verification.wholes import Leaves, Point, Whole


@dataclass
class Program:
    """A loss as a function of the leaves that are differentiated with respect to.

    Attributes:
        name: `module:function`.
        compute: Takes those leaves, all else that it needs, and a PRNG key.
        narrowest: The narrowest float dtype that it computes in, once it has been traced.
    """

    name: str
    compute: Callable[..., Any]
    narrowest: Any = None
    _compiled: Any = field(default=None, repr=False)

    def evaluate(
        self, varying: Leaves, rest: Any, key: Any, point: str, *, must_be_finite: bool = True
    ) -> tuple[float, Leaves]:
        """Gives the loss and its gradients.

        Args:
            varying: The leaves to differentiate with respect to.
            rest: All else.
            key: A PRNG key.
            point: Where this is, for errors.
            must_be_finite: Whether gradients that are not are the loss's fault.

        Raises:
            LossError: It raises, does not give a finite real number, or cannot be differentiated.
        """
        import jax

        if self._compiled is None:
            with blaming(self.name, "raised"):
                self.narrowest = narrowest_float(jax.make_jaxpr(self.compute)(varying, rest, key))
            with blaming(self.name, "cannot be differentiated:"):
                self._compiled = jax.jit(self._differentiate).lower(varying, rest, key).compile()
        with blaming(self.name, "raised"):
            value, gradients, finite = self._compiled(varying, rest, key)
            value = float(value)
        if not np.isfinite(value):
            raise LossError(f"`{self.name}` is {value} at the {point} point, expected a finite number")
        for path, is_finite in finite.items():
            if not is_finite and must_be_finite:
                raise LossError(f"`{self.name}` has no finite gradient at `{path}`, at the {point} point")
        return value, gradients

    def _differentiate(self, varying: Leaves, rest: Any, key: Any) -> tuple[Any, Leaves, Leaves]:
        import jax
        import jax.numpy as jnp

        value, gradients = jax.value_and_grad(self.compute)(varying, rest, key)
        return value, gradients, {path: jnp.isfinite(gradient).all() for path, gradient in gradients.items()}

    def check_pure(self, varying: Leaves, rest: Any, key: Any, value: float) -> None:
        """Checks that tracing anew gives the same loss.

        Raises:
            LossError: It does not.
        """
        import jax

        with blaming(self.name, "raised"):
            # jax keeps what it traced; another object is traced again.
            again = float(jax.jit(partial(self.compute))(varying, rest, key))
        if not abs(again - value) <= 16 * epsilon_of(self.narrowest) * (abs(again) + abs(value)):
            raise LossError(
                f"`{self.name}` gives another loss each time it is traced: {value:.8g}, then {again:.8g}",
                "Draw what is random from the PRNG key that it is given.",
            )


@dataclass(frozen=True)
class Programs:
    """All that is computed of a model.

    Attributes:
        whole: The model.
        untied: The user's loss, of all leaves.
        tied: The same, of the tied leaves, through the ties.
        reference: The user's loss of the tied tree, if there is one.
    """

    whole: Whole
    untied: Program
    tied: Program
    reference: Program | None

    @cached_property
    def gauge(self) -> Any:
        """Measures gradients; see `gauge_ties`. Compiled once."""
        import jax

        return jax.jit(partial(gauge_ties, self.whole))

    def evaluate_untied(self, point: Point, key: Any) -> tuple[float, Leaves]:
        """Gives the loss of the untied tree, and its gradients at tied leaves and aliases.

        Raises:
            LossError: It has none that are finite.
        """
        return self.untied.evaluate(point.varying, point.others, key, point.name)

    def evaluate_tied(self, point: Point, key: Any, rounding: Leaves) -> tuple[float, Leaves]:
        """Gives the loss through the ties, and its gradients at the tied leaves.

        Raises:
            LossError: It raises.
        """
        rest = (self.whole.others, self.whole.fixed, rounding)
        return self.tied.evaluate(point.canonicals, rest, key, point.name, must_be_finite=False)

    def evaluate_reference(self, point: Point, key: Any) -> tuple[float, Leaves]:
        """Gives the reference loss, and its gradients at the tied leaves.

        Raises:
            LossError: It has none that are finite.
        """
        assert self.reference is not None
        return self.reference.evaluate(point.canonicals, self.whole.others, key, point.name)


def make_programs(whole: Whole, loss: str, reference: str | None) -> Programs:
    """Imports the user's losses and puts the trees before them.

    Args:
        whole: The model.
        loss: `module:function`, of the full tree and a PRNG key.
        reference: The same, of the tied tree.

    Raises:
        LossError: One cannot be imported.
    """
    untied, tied = tie_loss(whole, loss, import_function(loss))
    if reference is None:
        return Programs(whole, untied, tied, None)
    function = import_function(reference)

    def compute(canonicals: Leaves, others: Leaves, key: Any) -> Any:
        """The loss that knows the ties by itself."""
        return _call(reference, function, whole.tied_tree(canonicals, others), key)

    return Programs(whole, untied, tied, Program(reference, compute))


def tie_loss(whole: Whole, name: str, loss: Callable[..., Any]) -> tuple[Program, Program]:
    """Makes of a loss of the full tree two: of independent leaves, and of tied ones.

    Args:
        whole: The model.
        name: What the loss is called.
        loss: Takes the full tree and a PRNG key.

    Returns:
        One that takes all leaves in two parts and a key; and one that takes the stored
        leaves, a triple of other leaves, fixed aliases and rounding, and a key.
    """

    def untied(varying: Leaves, others: Leaves, key: Any) -> Any:
        """The loss of independent leaves."""
        return _call(name, loss, whole.full_tree(varying, others), key)

    def tied(varying: Leaves, rest: tuple[Leaves, Leaves, Leaves], key: Any) -> Any:
        """The loss of tied leaves."""
        others, fixed, rounding = rest
        return _call(name, loss, whole.expand(whole.tied_tree(varying, others), fixed, rounding), key)

    return Program(name, untied), Program(name, tied)


def _call(name: str, function: Callable[..., Any], tree: Any, key: Any) -> Any:
    """Calls a loss, and insists on one real number."""
    import jax
    import jax.numpy as jnp

    # jax sorts dicts wherever it takes a tree apart; a loss may depend on their order.
    value = function(jax.tree.map(lambda leaf: leaf, tree), key)
    if not isinstance(value, jax.Array | np.ndarray | np.generic | float | int):
        raise LossError(f"`{name}` gives {word_type(value)}, expected one real number")
    array = jnp.asarray(value)
    if array.shape != ():
        raise LossError(f"`{name}` gives an array of shape {array.shape}, expected one real number")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise LossError(f"`{name}` gives {array.dtype.name}, which has no gradient; expected a float")
    return array
