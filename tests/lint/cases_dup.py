"""Cases of the rule about duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.lint.building import Case, Leaf, llama, write_llama
from tests.lint.converting import write_item


def draw(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    """Draws a leaf of normal values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model(directory: Path, **leaves: Leaf) -> Path:
    """Writes a Llama with some leaves more; `__` stands for a dot."""
    return write_llama(directory, llama() | {name.replace("__", "."): leaf for name, leaf in leaves.items()})


def layers(part: str, leaf: NDArray[Any]) -> dict[str, Leaf]:
    """Gives every layer the same leaf."""
    return {f"model__layers__{layer}__{part}": leaf for layer in range(2)}


def off_by_one_bit() -> NDArray[np.float32]:
    """Draws the leaf of the other cases, one bit of which differs."""
    values = draw(32, 32)
    values.view(np.uint32)[-1, -1] ^= 1
    return values


INDEX = np.random.default_rng(0).integers(0, 9, (64, 64))
CASES = [
    Case(
        "DUP001",
        "two-matrices",
        lambda at: model(at, a=draw(32, 32), b=draw(32, 32)),
        True,
        data=True,
        says=("`a` and `b` are byte-identical (4.0 KiB)",),
    ),
    Case(
        "DUP001",
        "six-matrices",
        lambda at: model(at, **{name: draw(32, 32) for name in "abcdef"}),
        True,
        data=True,
        says=("`c`, `d` and 2 more", "20.0 KiB"),
    ),
    Case("DUP001", "axis-of-one", lambda at: model(at, a=draw(32, 32), b=draw(32, 1, 32)), True, data=True),
    Case(
        "DUP001",
        "symmetric",
        lambda at: model(at, a=np.outer(draw(32), draw(32)), b=np.outer(draw(32), draw(32))),
        True,
        data=True,
    ),
    Case(
        "DUP001",
        "orbax",
        lambda at: write_item(at, {"a": draw(64, 64), "b": draw(64, 64)}, compress=True),
        True,
        data=True,
    ),
    Case(
        "DUP001",
        "norms-of-ones",
        lambda at: model(at, **layers("norm__weight", np.ones(4096, np.float32))),
        False,
        data=True,
    ),
    Case("DUP001", "rotary-frequencies", lambda at: model(at, **layers("inv_freq", draw(64))), False, data=True),
    Case(
        "DUP001",
        "sinusoidal-positions",
        lambda at: model(at, **{f"model__{part}__embed_positions__weight": draw(64, 8) for part in ("x", "y")}),
        False,
        data=True,
    ),
    Case("DUP001", "relative-positions", lambda at: model(at, **layers("position_index", INDEX)), False, data=True),
    Case("DUP001", "one-bit-off", lambda at: model(at, a=draw(32, 32), b=off_by_one_bit()), False, data=True),
]
