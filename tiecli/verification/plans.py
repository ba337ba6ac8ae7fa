"""Plans: what a kernel is compiled for, and the tiles that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms.steps import Elementwise, Permute, Step
from tiecli.verification.decoding import Form, top_of


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf's part of a tile.

    Attributes:
        form: How its elements come to the device.
        tile: Shape of the tile.
        block: Shape of a block.
    """

    form: Form
    tile: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def spec(self) -> LeafSpec:
        """A block's spec on the device, as the steps know it."""
        return LeafSpec(self.block, DTYPES["C64" if self.form == "c64" else "F64"])


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a kernel is compiled for.

    Attributes:
        sources: The leaves that the alias follows from; one, but for whole leaves that are joined.
        alias: The alias.
        steps: What makes a block of the alias of one of the leaves.
        rounded: Whether the values of the alias come rounded; else they are computed.
        blocks: How many blocks a tile of the leaf has along each axis; empty for whole leaves.
        origin: Where in its tile the alias's first block begins.
        strides: For each axis of the leaf: how far the alias's block moves with the leaf's.
        wide: Whether the device can look into a float64.
        masks: Whether what is infinite or no number on both sides is left out; without this, it makes the result a NaN.
    """

    sources: tuple[Part, ...]
    alias: Part
    steps: tuple[Step, ...]
    rounded: bool
    blocks: tuple[int, ...] = ()
    origin: tuple[int, ...] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    wide: bool = True
    masks: bool = False

    @property
    def turn(self) -> tuple[int, ...] | None:
        """In which order the alias has the axes of its leaf, where nothing else moves elements; None for the same."""
        axes = tuple(range(len(self.sources[0].block)))
        for step in self.steps:
            if isinstance(step, Permute):
                axes = tuple(axes[axis] for axis in step.axes)
            elif not isinstance(step, Elementwise):
                return None
        return None if axes == tuple(sorted(axes)) else axes

    @property
    def top(self) -> float:
        """What stands for infinity."""
        return top_of(part.form for part in (*self.sources, self.alias))


class Place(NamedTuple):
    """Where in its leaf a tile lies, as a kernel takes it.

    Attributes:
        key: Of the leaf's coefficients, two words of 32 bits.
        start: First index along each axis; may lie before the leaf's edge.
        low: The first that counts.
        high: The first that counts no more.
        amplitude: What the leaf's coefficients are multiplied by.
    """

    key: Any
    start: Any
    low: Any
    high: Any
    amplitude: Any


class Tile(NamedTuple):
    """One tile, as a kernel takes it: leaves as `encode` gives them.

    Attributes:
        written: The leaves of the tied file.
        original: The same of the file before tying.
        alias: The alias in that file.
        rounded: The alias as the tied file gives it; None where the kernel computes it.
        places: Of the leaves.
        alias_place: Of the alias.
    """

    written: tuple[Any, ...]
    original: tuple[Any, ...]
    alias: Any
    rounded: Any
    places: tuple[Place, ...]
    alias_place: Place
