"""Hits: what a search for ties found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tiecli.compare import Comparison
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie
from tiecli.transforms import Transform

HitKind = Literal["identical", "transposed", "cast", "prefix", "scaled", "slice", "ambiguous", "drifted", "dead"]


@dataclass(frozen=True, slots=True)
class Hit:
    """Two leaves that are, or once were, one.

    `identical` are bit for bit the same leaf; `transposed` the same with axes permuted, or with
    axes of length 1 added or taken away; `cast` the same rounded to another dtype; `prefix` the
    first layers of the other, or all of it with zeros behind; `scaled` a multiple; `slice` one
    layer of a stacked leaf; `ambiguous` fits more than one transform; `drifted` is near the
    other, declared tied to it, or named like a tie, but not equal; `dead` never received a
    gradient, by the state of the optimizer, and the other is the one leaf that the model can
    make it of.

    Attributes:
        kind: Which of these.
        canonical: The leaf to keep.
        alias: The leaf that follows.
        transform: How it follows; for `drifted`, under which transform the two are near; for
            `dead`, the one under which shapes fit.
        fits: Every transform found to fit bit for bit; none for `drifted` and `dead`.
        spec: Shape and dtype of the alias.
        comparison: For `drifted`: how far the two are apart.
    """

    kind: HitKind
    canonical: KeyPath
    alias: KeyPath
    transform: Transform
    fits: tuple[Transform, ...]
    spec: LeafSpec
    comparison: Comparison | None = None

    @property
    def nbytes(self) -> int:
        """The bytes that a tie would save."""
        return self.spec.nbytes

    @property
    def tie(self) -> Tie:
        """The tie that this hit suggests."""
        return Tie(self.alias, (self.canonical,), self.transform)


@dataclass(frozen=True, slots=True)
class FindReport:
    """What a search found, and what it cost.

    Each leaf is the alias of one hit at most: of three equal leaves, two follow from the third.

    Attributes:
        hits: By kind, then in stored order of the aliases.
        leaves: Leaves in the checkpoint.
        leaves_read_whole: Leaves of which every byte was read: all values, or all that is stored of them.
        bytes_read: How much was read in all. A compressed leaf counts with its stored bytes where
            those were compared, and with its values, up to the last that was wanted, where it was decoded.
        constant_leaves: Leaves found to hold one value throughout; these are never ties,
            unless declared. A leaf whose shape no other leaf has is not looked at.
        shared_leaves: Leaves that are second names of the stored bytes of others, and so tied already.
        skipped: Leaves not searched: empty ones, single elements, booleans, and integers that
            look like indices rather than weights.
    """

    hits: tuple[Hit, ...]
    leaves: int
    leaves_read_whole: int
    bytes_read: int
    constant_leaves: int
    shared_leaves: int
    skipped: int
