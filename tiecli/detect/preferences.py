"""Preferences: which of two leaves is the canonical one, where the bytes do not say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from tiecli.architectures import preferred_canonical
from tiecli.detect.subjects import Subject
from tiecli.keypaths import KeyPath

Pair = tuple[KeyPath, KeyPath]
"""A canonical leaf and its alias."""


class Preferences:
    """Decides which leaf to keep: as declared, else the input embedding, else the first stored.

    Attributes:
        stated: Pairs that somebody states, those by name alone last.
    """

    def __init__(self, declared: Sequence[Pair], named: Sequence[Pair]) -> None:
        self.stated: tuple[Pair, ...] = tuple(dict.fromkeys((*declared, *named)))
        self._rank = {pair: rank for rank, pair in enumerate(self.stated)}
        self._aliases = {alias for _, alias in self.stated}
        self._canonicals = {canonical for canonical, _ in self.stated} - self._aliases

    def choose(self, first: Subject, second: Subject) -> Subject:
        """Picks the canonical one of two."""
        there = self._rank.get((first.path, second.path))
        back = self._rank.get((second.path, first.path))
        if there is not None or back is not None:
            return second if there is None or (back is not None and back < there) else first
        for known, chosen in ((self._canonicals, True), (self._aliases, False)):
            if (first.path in known) != (second.path in known):
                return first if (first.path in known) == chosen else second
        name = preferred_canonical(first.path.spelling, second.path.spelling)
        if name is not None:
            return first if name == first.path.spelling else second
        return min(first, second, key=lambda subject: subject.place)

    def choose_among(self, subjects: Iterable[Subject]) -> Subject:
        """Picks the canonical one of many."""
        return reduce(self.choose, subjects)

    def is_decided(self, first: Subject, second: Subject) -> bool:
        """Whether more than the stored order speaks for one of two."""
        stated = {(first.path, second.path), (second.path, first.path)} & self._rank.keys()
        return bool(stated) or preferred_canonical(first.path.spelling, second.path.spelling) is not None
