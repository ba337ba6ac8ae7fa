"""Models to tie: a loss of plain arrays each, and how frameworks write the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Leaves = Mapping[str, Any]
RNG = np.random.default_rng(7)
VOCABULARY, WIDTH, HIDDEN, LAYERS = 11, 4, 3, 3
TOKENS = np.array([3, 1, 4, 1, 5, 9, 2, 6])
TARGETS = np.array([1, 4, 1, 5, 9, 2, 6, 5])
X = RNG.normal(size=(6, WIDTH))
Y = RNG.normal(size=(6, WIDTH))


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        leaves: The stored leaves, by name.
        ties: `(canonical, alias, transform)`.
        loss: Of the full tree, nested at the dots of the names.
    """

    leaves: Leaves
    ties: tuple[tuple[str, str, str], ...]
    loss: Callable[[Any], Any]


def draw(*shape: int) -> Any:
    return RNG.normal(size=shape)


def reconstruct(tree: Any) -> Any:
    """A nonlinear autoencoder with biases, trained to give something else than it gets."""
    import jax.numpy as jnp

    hidden = jnp.tanh(X @ tree["enc"]["weight"].T + tree["enc"]["bias"])
    return jnp.mean((hidden @ tree["dec"]["weight"].T + tree["dec"]["bias"] - Y) ** 2)


def cross_entropy(logits: Any) -> Any:
    """Of the next token."""
    import jax

    return -jax.nn.log_softmax(logits)[np.arange(len(TARGETS)), TARGETS].mean()


def predict(tree: Any) -> Any:
    """A language model whose head has a row a token, as torch lays it out."""
    import jax.numpy as jnp

    hidden = jnp.tanh(tree["wte"]["weight"][TOKENS] @ tree["mix"]["weight"].T)
    return cross_entropy(hidden @ tree["head"]["weight"].T)


def predict_by_kernel(tree: Any) -> Any:
    """The same with a column a token, as Flax lays it out."""
    import jax.numpy as jnp

    hidden = jnp.tanh(tree["wte"]["weight"][TOKENS] @ tree["mix"]["weight"].T)
    return cross_entropy(hidden @ tree["head"]["kernel"])


def repeat_layers(tree: Any) -> Any:
    """One layer, gone through several times."""
    import jax.numpy as jnp

    hidden = jnp.asarray(X)
    for layer in range(LAYERS):
        one = tree["layers"][str(layer)]
        hidden = jnp.tanh(hidden @ one["weight"].T + one["bias"])
    return jnp.mean((hidden - Y) ** 2)


MODELS: Mapping[str, Model] = {
    "autoencoder": Model(
        {"enc.weight": draw(HIDDEN, WIDTH), "enc.bias": draw(HIDDEN), "dec.bias": draw(WIDTH)},
        (("enc.weight", "dec.weight", "transpose"),),
        reconstruct,
    ),
    "head": Model(
        {"wte.weight": draw(VOCABULARY, WIDTH), "mix.weight": draw(WIDTH, WIDTH)},
        (("wte.weight", "head.weight", "same"),),
        predict,
    ),
    "transposed head": Model(
        {"wte.weight": draw(VOCABULARY, WIDTH), "mix.weight": draw(WIDTH, WIDTH)},
        (("wte.weight", "head.kernel", "transpose"),),
        predict_by_kernel,
    ),
    "layers": Model(
        {"layers.0.weight": draw(WIDTH, WIDTH), "layers.0.bias": draw(WIDTH)},
        tuple(
            (f"layers.0.{part}", f"layers.{layer}.{part}", "same")
            for layer in range(1, LAYERS)
            for part in ("weight", "bias")
        ),
        repeat_layers,
    ),
}
