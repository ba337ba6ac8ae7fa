"""`tiecli.pytrees`: a training step of a tied GPT-2-like model, beside other ways to write the tie.

    python tests/benchmarks/bench_pytrees.py [--layers 12] [--width 768] [--rounds 15]

Four steps are compiled: the tie written by hand, `equinox.nn.Shared`, `expand`, and no tie.
Their operations and memory are what the compiler says of each; their times are of steps
taken in turn, in changing order. `expand`, too, is called where the step is traced and
nowhere else; tracing is timed apart.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tiecli.pytrees import contract, expand, tie_nodes

VOCABULARY, LENGTH = 50257, 128
Model = dict[str, Any]
Step = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


def make_model(layers: int, width: int) -> Model:
    """Makes the leaves of GPT-2, its head beside its table of tokens as an untied model has it."""
    dice = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return jnp.asarray(0.02 * dice.standard_normal(shape, np.float32))

    def make_layer() -> Model:
        return {
            "attention": {"qkv": draw(width, 3 * width), "out": draw(width, width)},
            "mlp": {"up": draw(width, 4 * width), "down": draw(4 * width, width)},
            "scales": [jnp.ones(width), jnp.ones(width)],
        }

    table = draw(VOCABULARY, width)
    return {
        "wte": table,
        "wpe": draw(LENGTH, width),
        "h": [make_layer() for _ in range(layers)],
        "scale": jnp.ones(width),
        "head": table.T,
    }


def normalise(hidden: Any, scale: Any) -> Any:
    """Scales each token's numbers to variance 1."""
    return scale * hidden * jax.lax.rsqrt(jnp.mean(hidden**2, -1, keepdims=True) + 1e-5)


def attend(layer: Model, hidden: Any, heads: int = 12) -> Any:
    """Causal attention of several heads."""
    shape = (*hidden.shape[:-1], heads, -1)
    query, key, value = (part.reshape(shape) for part in jnp.split(hidden @ layer["qkv"], 3, -1))
    return jax.nn.dot_product_attention(query, key, value, is_causal=True).reshape(hidden.shape) @ layer["out"]


def compute_loss(model: Model, tokens: Any) -> Any:
    """The mean cross entropy of each next token."""
    hidden = model["wte"][tokens] + model["wpe"]
    for layer in model["h"]:
        hidden += attend(layer["attention"], normalise(hidden, layer["scales"][0]))
        inner = jax.nn.gelu(normalise(hidden, layer["scales"][1]) @ layer["mlp"]["up"])
        hidden += inner @ layer["mlp"]["down"]
    logits = normalise(hidden, model["scale"]) @ model["head"]
    return optax.softmax_cross_entropy_with_integer_labels(logits[:, :-1], tokens[:, 1:]).mean()


@dataclass
class Way:
    """A training step as one would write it, compiled, and what was measured of it."""

    state: tuple[Any, Any]
    compiled: Any
    traced_s: float
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def compile(cls, params: Any, loss: Callable[[Any, Any], Any], tokens: Any) -> Way:
        """Traces and compiles one step of AdamW on a model's own leaves."""
        optimizer = optax.adamw(3e-4)

        def step(params: Any, state: Any, tokens: Any) -> tuple[Any, Any, Any]:
            value, grads = jax.value_and_grad(loss)(params, tokens)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state, value

        # Each way owns its leaves, since steps give the memory of old ones to new ones.
        params = jax.tree.map(jnp.copy, params)
        state = optimizer.init(params)
        started = time.perf_counter()
        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, tokens)
        traced = time.perf_counter() - started
        return cls((params, state), lowered.compile(), traced)

    def run(self, tokens: Any) -> float:
        """Takes a step, and gives its loss."""
        started = time.perf_counter()
        *state, value = self.compiled(*self.state, tokens)
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]  # as JAX has it
        self.seconds.append(time.perf_counter() - started)
        self.state = (state[0], state[1])
        return float(value)


def make_ways(layers: int, width: int, tokens: Any) -> dict[str, Way]:
    """Compiles the step of each way."""
    model = make_model(layers, width)

    def where(model: Model) -> Any:
        return model["head"]

    def get(model: Model) -> Any:
        return model["wte"].T

    ties = tie_nodes(model, where, get)
    by_hand = {name: leaf for name, leaf in model.items() if name != "head"}
    shared, static = eqx.partition(eqx.nn.Shared(model, where, get), eqx.is_array)
    return {
        "by hand": Way.compile(by_hand, lambda m, t: compute_loss({**m, "head": m["wte"].T}, t), tokens),
        "eqx.nn.Shared": Way.compile(shared, lambda m, t: compute_loss(eqx.combine(m, static)(), t), tokens),
        "tiecli expand": Way.compile(contract(model, ties), lambda m, t: compute_loss(expand(m, ties), t), tokens),
        "no tie": Way.compile(model, compute_loss, tokens),
    }


def count_bytes(tree: Any) -> int:
    """The bytes of a tree's arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def main() -> None:
    """Prints one row a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(0)
    tokens = jnp.asarray(np.random.default_rng(1).integers(VOCABULARY, size=(options.batch, LENGTH)))

    ways = make_ways(options.layers, options.width, tokens)
    for turn in range(-1, options.rounds):
        losses = {name: ways[name].run(tokens) for name in dice.sample(list(ways), len(ways))}
        if len({losses[name] for name in ways if name != "no tie"}) != 1:
            raise SystemExit(f"the ways part in step {turn + 1}: {losses}")
    for way in ways.values():
        del way.seconds[0]

    print(f"{jax.devices()[0].device_kind}, {options.rounds} steps of {tokens.shape} tokens, paired with `by hand`")
    heads = ("min s", "median s", "paired", "GFLOP", "temp MiB", "args MiB", "params MiB", "state MiB", "traced s")
    print(f"{'':<16}" + "".join(f"{head:>12}" for head in heads))
    base = ways["by hand"].seconds
    for name, way in ways.items():
        cost, memory = way.compiled.cost_analysis(), way.compiled.memory_analysis()
        params, state = way.state
        figures = (
            min(way.seconds),
            statistics.median(way.seconds),
            statistics.median(mine / theirs for mine, theirs in zip(way.seconds, base, strict=True)),
            cost["flops"] / 1e9,
            memory.temp_size_in_bytes / 2**20,
            memory.argument_size_in_bytes / 2**20,
            count_bytes(params) / 2**20,
            count_bytes(state) / 2**20,
            way.traced_s,
        )
        print(f"{name:<16}" + "".join(f"{figure:12.3f}" for figure in figures))


if __name__ == "__main__":
    main()
