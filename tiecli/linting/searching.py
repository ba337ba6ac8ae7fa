"""Searching: which leaves are equal, and how far stated pairs are apart; whole leaves are read only to prove it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tiecli.architectures import named_like_ties
from tiecli.compare import Comparison, compare_leaf
from tiecli.detect import FindReport, find_ties
from tiecli.errors import TiecliError, TransformMismatchError, TransformSyntaxError
from tiecli.ties import Tie
from tiecli.transforms import Transform
from tiecli.transforms.steps import Permute, Reshape

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader
    from tiecli.keypaths import KeyPath
    from tiecli.linting.tying import StatedTie


class EqualLeaves(NamedTuple):
    """Two leaves that are equal, bit for bit, but for the order of axes.

    Attributes:
        canonical: The leaf to keep.
        alias: The leaf that follows.
        transform: How it follows: `same`, if that fits.
        same_bytes: Whether the two are the same bytes in the same order, be it with axes of length 1 elsewhere.
        nbytes: The size of the alias.
    """

    canonical: str
    alias: str
    transform: Transform
    same_bytes: bool
    nbytes: int


@dataclass
class Searcher:
    """One search of a checkpoint for equal leaves, made when first asked for.

    Attributes:
        reader: The checkpoint.
        stated: Pairs that something speaks about: they say which leaf is the canonical one.
    """

    reader: CheckpointReader
    stated: Collection[StatedTie] = ()
    _compared: dict[tuple[tuple[str, ...], str, str], Comparison | None] = field(default_factory=dict)

    @property
    def report(self) -> FindReport:
        """What the search found.

        Raises:
            CheckpointError: A leaf cannot be read, or the manifest is damaged.
        """
        if isinstance(self._outcome, TiecliError):
            raise self._outcome
        return self._outcome

    def list_equal(self) -> Iterator[EqualLeaves]:
        """Lists what is equal as a whole and without arithmetic; raises as `report` does."""
        specs = self.reader.specs()
        for hit in self.report.hits:
            spec = specs[hit.canonical]
            if spec.size == hit.spec.size and spec.dtype == hit.spec.dtype:
                fits = [fit for fit in hit.fits if fit.is_structural]
                for transform in sorted(fits, key=lambda fit: not _keeps_order(fit, spec.shape))[:1]:
                    same_bytes = _keeps_order(transform, spec.shape)
                    yield EqualLeaves(hit.canonical.spelling, hit.alias.spelling, transform, same_bytes, hit.nbytes)

    def are_equal(self, first: str, second: str) -> bool:
        """Whether the search found two leaves to be the same bytes of one shape; raises as `report` does."""
        return self._roots.get(first, first) == self._roots.get(second, second)

    def are_shared(self, canonical: str, alias: str) -> bool:
        """Whether two stored leaves are second names of the same stored bytes."""
        return self.reader.shares_bytes(self._places[canonical], self._places[alias])

    def can_share(self, canonical: str, alias: str, transform: str) -> bool:
        """Whether a tie would keep both names, as the format can have an alias without bytes of its own."""
        return self.reader.can_share(Tie(self._places[alias], (self._places[canonical],), Transform.parse(transform)))

    def compare(self, canonicals: tuple[str, ...], alias: str, transform: str) -> Comparison | None:
        """Compares an alias with what a transform makes of its canonical leaves.

        Args:
            canonicals: The leaves it would follow from, by on-disk name.
            alias: The leaf that would follow.
            transform: How, in text form.

        Returns:
            How they compare; None where a leaf is not stored, or the transform does not give
            the alias's shape and dtype.

        Raises:
            CheckpointError: A leaf cannot be read.
        """
        key = canonicals, alias, transform
        if key not in self._compared:
            self._compared[key] = self._compare(*key)
        return self._compared[key]

    def _compare(self, canonicals: tuple[str, ...], alias: str, transform: str) -> Comparison | None:
        if not self._places.keys() >= {alias, *canonicals}:
            return None
        sources, target = tuple(self._places[name] for name in canonicals), self._places[alias]
        specs = self.reader.specs()
        try:
            parsed = Transform.parse(transform)
            if parsed.spec([specs[path] for path in sources]) != specs[target]:
                return None
            settled = self._recall(sources, target, parsed)
            return settled or compare_leaf(self.reader, target, self.reader, sources, parsed, measure=True)
        except (TransformMismatchError, TransformSyntaxError):
            return None

    def _recall(self, sources: tuple[KeyPath, ...], target: KeyPath, transform: Transform) -> Comparison | None:
        """Gives what the search said of a pair, so that it is not read again."""
        if isinstance(self._outcome, TiecliError):
            return None
        for hit in self._outcome.hits:
            if (hit.canonical,) == sources and hit.alias == target:
                if transform in hit.fits:
                    return Comparison(hit.spec.size, 0)
                return hit.comparison if hit.transform == transform else None
        return None

    @cached_property
    def _roots(self) -> Mapping[str, str]:
        return {equal.alias: equal.canonical for equal in self.list_equal() if equal.transform.is_same}

    @cached_property
    def _places(self) -> Mapping[str, KeyPath]:
        return {path.spelling: path for path in self.reader.specs()}

    @cached_property
    def _outcome(self) -> FindReport | TiecliError:
        """What the search found, or why it failed: several rules ask, and it is made once."""
        pairs = [(tie.canonical, tie.alias) for tie in self.stated]
        known = [
            (self._places[canonical], self._places[alias])
            for canonical, alias in dict.fromkeys((*pairs, *named_like_ties(self._places)))
            if canonical in self._places and alias in self._places
        ]
        try:
            # Not as declared ones, which are compared whole however little they resemble each other.
            return find_ties(self.reader, named=known)
        except TiecliError as error:
            return error


def _keeps_order(transform: Transform, shape: tuple[int, ...]) -> bool:
    """Whether a transform that only turns and reshapes a leaf of this shape leaves its bytes as they are."""
    match transform.steps:
        case () | (Reshape(),):
            return True
        case (Permute(axes), *_):
            moved = [axis for axis in axes if shape[axis] != 1]
            return moved == sorted(moved)
        case _:
            return False
