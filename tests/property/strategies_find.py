"""Strategies for finding: random leaves, with copies planted among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiecli.transforms import Transform
from tiecli.transforms.arrays import forward

Leaf = NDArray[Any]

# Lengths meet again and again, so that unrelated leaves share shapes, and squares and cubes occur.
LENGTHS = (1, 4, 5, 8, 16, 21)
DTYPES = (np.float32, ml_dtypes.bfloat16, np.float64, np.float16, ml_dtypes.float8_e4m3fn, np.complex64)
NARROWER = {"float64": ("f32",), "float32": ("bf16", "f16", "f8_e4m3"), "bfloat16": ("f8_e5m2",)}
FACTORS = ("2", "-0x1p-3", "1/3", "0.1", "7.25", "-1")


@dataclass(frozen=True, repr=False)
class Planted:
    """A checkpoint to be.

    Attributes:
        leaves: By name, in the order they are stored.
        copies: `copy -> (source, transform)` for each exact copy.
        drifted: `copy -> source` for each copy with one bit flipped.
    """

    leaves: Mapping[str, Leaf]
    copies: Mapping[str, tuple[str, Transform]]
    drifted: Mapping[str, str]

    def __repr__(self) -> str:
        shown = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in self.leaves.items()}
        copies = {copy: f"{source} | {transform}" for copy, (source, transform) in self.copies.items()}
        return f"Planted({shown}, {copies}, {self.drifted})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis would print every element.
        printer.text(repr(self))

    @property
    def groups(self) -> list[set[str]]:
        """Leaves that hang together."""
        groups: dict[str, set[str]] = {}
        for copy, source in {**{copy: source for copy, (source, _) in self.copies.items()}, **self.drifted}.items():
            groups.setdefault(source, {source}).add(copy)
        return list(groups.values())


@st.composite
def planted(draw: st.DrawFn) -> Planted:
    """Draws leaves, a few of them copied under transforms or with one bit flipped, in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shapes = st.lists(st.sampled_from(LENGTHS), min_size=1, max_size=4).filter(lambda s: 64 <= np.prod(s) <= 5000)
    bases: dict[str, Leaf] = {}
    for number in range(draw(st.integers(1, 5))):
        dtype = draw(st.sampled_from(DTYPES))
        bases[f"leaf{number}"] = _normal(rng, tuple(draw(shapes)), dtype)
    leaves, copies, drifted = dict(bases), {}, {}
    for number in range(draw(st.integers(0, 4))):
        source = draw(st.sampled_from(sorted(bases)))
        kind = draw(st.sampled_from(["same", "turned", "cast", "prefix", "scaled", "slice", "one bit off"]))
        name = f"copy{number}"
        if kind == "one bit off":
            if np.sum(np.array(bases[source].shape) > 1) > 1 and bases[source].dtype.kind != "c":
                leaves[name], drifted[name] = _flip_bit(bases[source], draw(st.integers(0, 2**20))), source
            continue
        transform = _transform(draw, kind, bases[source])
        if transform is not None:
            leaves[name] = np.ascontiguousarray(forward(transform, [bases[source]]))
            copies[name] = (source, transform)
    order = draw(st.permutations(sorted(leaves)))
    return Planted({name: leaves[name] for name in order}, copies, drifted)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Leaf:
    values: Leaf = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if dtype is np.complex64 else values).astype(dtype)


def _flip_bit(leaf: Leaf, position: int) -> Leaf:
    other = leaf.copy()
    other.reshape(-1).view(f"u{leaf.dtype.itemsize}")[position % leaf.size] ^= 1
    return other


def _transform(draw: st.DrawFn, kind: str, leaf: Leaf) -> Transform | None:
    turn = f"transpose({','.join(map(str, draw(st.permutations(range(leaf.ndim)))))})"
    rest = leaf.size // leaf.shape[0]
    text = None
    if kind == "same":
        text = "same"
    elif kind == "turned":
        text = turn
    elif kind == "cast" and leaf.dtype.name in NARROWER:
        text = f"{turn} | cast({draw(st.sampled_from(NARROWER[leaf.dtype.name]))})"
    elif kind == "scaled" and leaf.dtype.name in ("float64", "float32", "float16", "bfloat16"):
        text = f"{turn} | scale({draw(st.sampled_from(FACTORS))})"
    elif kind == "prefix" and leaf.size > max(rest, 16):
        text = f"[:{draw(st.integers(-(-16 // rest), leaf.shape[0] - 1))}]"
    elif kind == "slice" and leaf.size > rest >= 16:
        text = f"[{draw(st.integers(0, leaf.shape[0] - 1))}]"
    return None if text is None else Transform.parse(text)
