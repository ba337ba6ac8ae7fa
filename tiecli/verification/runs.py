"""Runs: the same training three ways, step by step in one program."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tiecli.transforms.exactness import Exactness
from tiecli.verification.programs import Program
from tiecli.verification.wholes import Leaves, Whole

Optimizer = Literal["sgd", "adam", "adamw"]


class Run(NamedTuple):
    """One way of training: its leaves, and what its optimizer remembers of them."""

    leaves: Leaves
    memory: Any


class State(NamedTuple):
    """Where the three runs are.

    Attributes:
        tied: Aliases are made of their canonical leaves at every step.
        summed: Each leaf by itself, with the gradient that the tied leaf would get.
        naive: Each leaf by itself, with its own gradient.
    """

    tied: Run
    summed: Run
    naive: Run


class Seen(NamedTuple):
    """What was seen at a step.

    Attributes:
        loss: The tied run's, before the step.
        gradients: Size of its gradients.
        leaves: Size of its leaves, aliases too, after the step.
        tied_apart: How far the summed run is from the tied one at most, after the step.
        naive_apart: The same of the naive run.
    """

    loss: Any
    gradients: Size
    leaves: Size
    tied_apart: Any
    naive_apart: Any


class Size(NamedTuple):
    """How large elements are: the largest, and their root mean square."""

    largest: Any
    mean: Any


@dataclass(frozen=True)
class Training:
    """A model, a loss and an optimizer.

    Attributes:
        whole: The model.
        untied: The loss of all leaves.
        tied: The loss of the tied leaves, through the ties.
        optimizer: Its name.
    """

    whole: Whole
    untied: Program
    tied: Program
    optimizer: Optimizer

    @cached_property
    def free(self) -> Leaves:
        """Leaves that are trained and not tied."""
        import jax.numpy as jnp

        return {name: leaf for name, leaf in self.whole.others.items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}

    @cached_property
    def constants(self) -> Leaves:
        """Leaves that are not trained."""
        return {name: leaf for name, leaf in self.whole.others.items() if name not in self.free}

    @cached_property
    def twins(self) -> tuple[str, ...]:
        """Aliases that move as their canonical leaves do: in the summed run they are trained, all others made anew."""
        return tuple(
            name
            for name, tie in self.whole.wide.items()
            # Weight decay would act on the rounding too.
            if name not in self.whole.rounding
            and tie.transform.is_structural
            and tie.transform.exactness(tie.sources) is Exactness.BIJECTION
        )

    def start(self) -> State:
        """Gives the state before the first step; no array is in it twice, since each step consumes it."""
        import jax
        import jax.numpy as jnp

        tied = self.whole.canonicals | self.free
        full = self.whole.with_aliases(self.whole.canonicals) | self.free
        runs = (tied, {name: leaf for name, leaf in full.items() if name not in self._made_anew}, full)
        return State(*(Run(jax.tree.map(jnp.copy, leaves), self.remember(leaves)) for leaves in runs))

    def remember(self, leaves: Leaves) -> Any:
        """Gives what the optimizer remembers before its first step."""
        return self._optimizer(0.0, 1.0).init(leaves)

    @property
    def _made_anew(self) -> frozenset[str]:
        return frozenset(self.whole.wide) - frozenset(self.twins)

    def _optimizer(self, rate: Any, epsilon: Any) -> Any:
        import optax

        match self.optimizer:
            case "sgd":
                return optax.sgd(rate)
            case "adam":
                return optax.adam(rate, eps=epsilon)
            case "adamw":
                return optax.adamw(rate, eps=epsilon)

    @cached_property
    def advance(self) -> Any:
        """Takes one step of all three runs: `advance(state, rest, key, rate, epsilon)`; compiled once."""
        import jax

        return jax.jit(self._advance, donate_argnums=0)

    @property
    def rest(self) -> tuple[Leaves, Leaves, Leaves]:
        """What `advance` needs beside the state."""
        return self.constants, self.whole.fixed, self.whole.rounding

    def _advance(self, state: State, rest: tuple[Leaves, ...], key: Any, rate: Any, epsilon: Any) -> tuple[State, Seen]:
        import jax

        constants, fixed, rounding = rest
        optimizer = self._optimizer(rate, epsilon)

        def step(run: Run, gradients: Leaves) -> Run:
            """Takes one step of one run."""
            # jax gives the conjugate of the direction in which a loss of complex leaves grows.
            updates, memory = optimizer.update(jax.tree.map(jax.numpy.conj, gradients), run.memory, run.leaves)
            return Run(jax.tree.map(jax.numpy.add, run.leaves, updates), memory)

        loss, gradients = jax.value_and_grad(self.tied.compute)(state.tied.leaves, rest, key)
        own = jax.grad(self.untied.compute)(self._complete(state.summed.leaves, rounding), constants | fixed, key)
        naive = jax.grad(self.untied.compute)(state.naive.leaves, constants | fixed, key)
        after = State(step(state.tied, gradients), step(state.summed, self._sum(own)), step(state.naive, naive))
        full = self._complete(after.tied.leaves, rounding)
        seen = Seen(
            loss,
            _size(gradients),
            _size(full),
            _apart(full, self._complete(after.summed.leaves, rounding)),
            _apart(full, after.naive.leaves),
        )
        return after, seen

    def _complete(self, leaves: Leaves, rounding: Leaves) -> Leaves:
        """Adds the aliases that are not there."""
        canonicals = {name: leaves[name] for name in self.whole.canonicals}
        return self.whole.make_aliases(canonicals, rounding) | leaves

    def _sum(self, own: Leaves) -> Leaves:
        """Gives each canonical leaf the sum of all gradients of what is tied to it, and its twins the same."""
        import jax.numpy as jnp

        total = {name: leaf for name, leaf in own.items() if name not in self.whole.wide}
        for name, tie in self.whole.wide.items():
            for path, part in zip(tie.tie.canonicals, tie.pull_back(own[name], jnp), strict=True):
                total[str(path)] = total[str(path)] + part
        made = {
            name: self.whole.wide[name].make([total[str(path)] for path in self.whole.wide[name].tie.canonicals], jnp)
            for name in self.twins
        }
        return total | made


def _size(leaves: Leaves) -> Size:
    import jax.numpy as jnp

    largest = jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves.values()]).max()
    count = sum(leaf.size for leaf in leaves.values())
    return Size(largest, jnp.sqrt(sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in leaves.values()) / count))


def _apart(left: Leaves, right: Leaves) -> Any:
    return _size({name: left[name] - right[name] for name in left}).largest
