"""Bundles: ties that are alike but for the numbers in their names, to be shown as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tiecli.render.tree import fold_numbers
from tiecli.verification.verdicts import TieVerdict, Verdict

_NUMBER = re.compile("([0-9]+)")

_Skeleton = tuple[str, ...]
"""A name without its numbers."""


class Bundle(NamedTuple):
    """Ties with the same transform and verdict whose names differ in numbers only.

    Attributes:
        canonical: Where they come from: one leaf, or a pattern such as `h.{0..11}.w`.
        alias: What follows, the same way.
        transform: How.
        verdict: What was found.
        ties: Which ties of the report they are.
    """

    canonical: str
    alias: str
    transform: str
    verdict: Verdict
    ties: tuple[int, ...]


def bundle_ties(ties: Sequence[TieVerdict]) -> tuple[Bundle, ...]:
    """Puts ties together that can be told as one: many aliases of one leaf, or many pairs.

    The bundles that share where they come from stand together.
    """
    alike: dict[tuple[_Skeleton, _Skeleton, str, Verdict], list[int]] = {}
    for index, tie in enumerate(ties):
        key = (_skeleton(tie.canonical), _skeleton(tie.alias), tie.transform, tie.judgement.verdict)
        alike.setdefault(key, []).append(index)
    by_canonical: dict[str, list[Bundle]] = {}
    for (_, _, transform, verdict), indices in alike.items():
        for members in _split(ties, indices):
            canonical = fold_names([ties[index].canonical for index in members])
            alias = fold_names([ties[index].alias for index in members])
            by_canonical.setdefault(canonical, []).append(Bundle(canonical, alias, transform, verdict, tuple(members)))
    return tuple(bundle for bundles in by_canonical.values() for bundle in bundles)


def _split(ties: Sequence[TieVerdict], indices: list[int]) -> list[list[int]]:
    """Keeps pairs together, and the aliases of each canonical leaf where one has several."""
    by_canonical: dict[str, list[int]] = {}
    for index in indices:
        by_canonical.setdefault(ties[index].canonical, []).append(index)
    return [indices] if len(by_canonical) == len(indices) else list(by_canonical.values())


def fold_names(names: Sequence[str]) -> str:
    """Spells names that differ in numbers only as one.

    Example:
        >>> fold_names(["h.0.w", "h.1.w", "h.2.w", "h.7.w"])
        'h.{0..2,7}.w'
        >>> fold_names(["h.01.w", "h.2.w"]), fold_names(["w", "w"])
        ('h.{01,2}.w', 'w')
    """
    return "".join(map(_fold_pieces, zip(*map(_NUMBER.split, names), strict=True)))


def _fold_pieces(pieces: Sequence[str]) -> str:
    distinct = dict.fromkeys(pieces)
    if len(distinct) == 1:
        return pieces[0]
    # Only what is spelled as a number is, not `01`; very long ones are no layers.
    if all(len(piece) < 19 and str(int(piece)) == piece for piece in distinct):
        return "{" + fold_numbers(sorted(map(int, distinct))) + "}"
    return "{" + ",".join(distinct) + "}"


def _skeleton(name: str) -> _Skeleton:
    return tuple(_NUMBER.split(name)[::2])
