"""Measuring what Adam's second moments lack that were gathered apart: the steps that come of them, along a tied run.

`python -m tests.peer.measured_squares` prints the figures of docs/optimizer-state.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any
VOCABULARY, WIDTH, LENGTH, BATCH = 64, 32, 16, 16
STEPS = (10, 100, 400)
RATE, FIRST, SECOND, EPSILON = 3e-3, 0.9, 0.999, 1e-8
RULES = ("sum", "largest possible", "larger of the two", "mean", "canonical leaf's", "alias's")


def make_model(seed: int) -> Tree:
    """Makes a block of attention and one of two layers, between an embedding and the head that is tied to it."""
    rng = np.random.default_rng(seed)

    def draw(rows: int, columns: int, scale: float) -> Any:
        return jnp.asarray(rng.standard_normal((rows, columns)) * scale)

    square, inner = (WIDTH, WIDTH, WIDTH**-0.5), (WIDTH, 2 * WIDTH, WIDTH**-0.5)
    return {
        "embed": draw(VOCABULARY, WIDTH, 0.3),
        "places": draw(LENGTH, WIDTH, 0.3),
        **{name: draw(*square) for name in ("query", "key", "value", "out")},
        "up": draw(*inner),
        "down": draw(2 * WIDTH, WIDTH, (2 * WIDTH) ** -0.5),
    }


def make_tokens(seed: int) -> Any:
    """Draws texts from a chain in which each token has a few likely successors, and some are rare."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(VOCABULARY, 0.05), VOCABULARY) / np.arange(1, VOCABULARY + 1)
    below = (chances / chances.sum(1, keepdims=True)).cumsum(1)
    tokens = np.zeros((STEPS[-1], BATCH, LENGTH), int)
    tokens[:, :, 0] = rng.integers(0, VOCABULARY, tokens.shape[:2])
    for place in range(1, LENGTH):
        drawn = rng.random((*tokens.shape[:2], 1)) > below[tokens[:, :, place - 1]]
        tokens[:, :, place] = drawn.sum(-1).clip(0, VOCABULARY - 1)
    return jnp.asarray(tokens)


def find_loss(model: Tree, head: Any, tokens: Any, *, attends: bool) -> Any:
    """Computes a language model's loss; the head is given apart, so that its gradient is."""
    hidden = model["embed"][tokens] + model["places"]
    if attends:
        scores = hidden @ model["query"] @ jnp.swapaxes(hidden @ model["key"], -1, -2) / np.sqrt(WIDTH)
        seen = jnp.where(jnp.tril(jnp.ones((LENGTH, LENGTH), bool)), scores, -1e9)
        hidden = hidden + jax.nn.softmax(seen) @ hidden @ model["value"] @ model["out"]
    hidden = hidden + jnp.tanh(hidden @ model["up"]) @ model["down"]
    chances = jax.nn.log_softmax(hidden @ head.T)[:, :-1]
    return -jnp.take_along_axis(chances, tokens[:, 1:, None], -1).mean()


def find_step(mu: Any, nu: Any, count: Any) -> Any:
    """Computes a step of Adam, but for the learning rate."""
    return (mu / (1 - FIRST**count)) / (jnp.sqrt(nu / (1 - SECOND**count)) + EPSILON)


def gather(moments: tuple[Any, Any], gradients: Tree) -> tuple[Any, Any]:
    """Takes gradients up into both moments."""
    mu = jax.tree.map(lambda old, new: FIRST * old + (1 - FIRST) * new, moments[0], gradients)
    return mu, jax.tree.map(lambda old, new: SECOND * old + (1 - SECOND) * new**2, moments[1], gradients)


def train(seed: int, *, attends: bool) -> tuple[Any, list[Any]]:
    """Trains the tied model; beside it, embedding and head gather the moments that each would have of its own.

    Returns:
        The last values of the leaf, and at every step: the moments of the tied leaf, those of
        the two, and the count.
    """
    model = make_model(seed)
    zeros = jax.tree.map(jnp.zeros_like, (model, model["embed"], model["embed"]))

    def step(carried: Tree, tokens: Any) -> Tree:
        model, tied, own, other, count = carried
        find = jax.grad(partial(find_loss, attends=attends), argnums=(0, 1))
        gradients, of_head = find(model, model["embed"], tokens)
        of_embed = gradients["embed"]
        tied = gather(tied, {**gradients, "embed": of_embed + of_head})
        own, other, count = gather(own, of_embed), gather(other, of_head), count + 1
        steps = jax.tree.map(lambda mu, nu: find_step(mu, nu, count), *tied)
        model = jax.tree.map(lambda leaf, taken: leaf - RATE * taken, model, steps)
        seen = ((tied[0]["embed"], tied[1]["embed"]), own, other, count)
        return (model, tied, own, other, count), seen

    start = (model, *((zero, zero) for zero in zeros), 0)
    last, seen = jax.jit(lambda carried: jax.lax.scan(step, carried, make_tokens(seed + 100)))(start)
    kept = [jax.tree.map(lambda values, at=count: np.asarray(values[at - 1]), seen) for count in STEPS]
    return np.asarray(last[0]["embed"]), kept


def list_rules(own: Any, other: Any) -> dict[str, Any]:
    """Lists what could be made of two second moments, the rule of `tie` first."""
    most = (np.sqrt(own) + np.sqrt(other)) ** 2
    return dict(zip(RULES, (own + other, most, np.maximum(own, other), (own + other) / 2, own, other), strict=True))


def find_error(tied: tuple[Any, Any], nu: Any, count: int) -> float:
    """Gives how far a step of the tied leaf is off, in its own length, if its second moment is this one."""
    expected = find_step(tied[0], tied[1], count)
    return float(np.linalg.norm(find_step(tied[0], nu, count) - expected) / np.linalg.norm(expected))


def measure(seed: int, *, attends: bool) -> Iterator[tuple[str, list[float]]]:
    """Yields the errors of each rule at some counts."""
    _, seen = train(seed, attends=attends)
    for rule in RULES:
        yield rule, [find_error(tied, list_rules(own[1], other[1])[rule], at) for tied, own, other, at in seen]


if __name__ == "__main__":
    with jax.enable_x64(True):
        runs = [dict(measure(seed, attends=attends)) for seed in range(3) for attends in (True, False)]
    for name in RULES:
        columns = zip(*(run[name] for run in runs), strict=True)
        print(name, *(f"{100 * min(it):.1f} to {100 * max(it):.1f} %" for it in columns), sep="\t")
