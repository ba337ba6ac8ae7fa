"""Planning: which leaf gets which values, from specs alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiecli.errors import LeafNotFoundError, TieConflictError, TransformMismatchError, UsageError
from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.leaves import LeafSpec
from tiecli.patterns import pair_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME, Transform, compose


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """One copy as a person asks for it.

    Attributes:
        dst: The leaf that gets new values, or a pattern of it.
        src: The leaf they come from, or a pattern of it; `(a, b)` for `concat` and `stack`.
        transform: What is made of them on the way.
    """

    dst: str
    src: str
    transform: Transform = SAME


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """One copy, checked against the specs of both sides.

    Attributes:
        dst: The leaf that gets new values.
        named: The leaf they come from as it was asked for; it may be an alias.
        asked: What was asked to be made of it.
        sources: The stored leaves they come from.
        transform: What is made of those; more than was asked where `named` is an alias.
        spec: Shape and dtype of `dst`, which stay.
    """

    dst: KeyPath
    named: tuple[KeyPath, ...]
    asked: Transform
    sources: tuple[KeyPath, ...]
    transform: Transform
    spec: LeafSpec


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A leaf that both sides have, of another shape or dtype."""

    leaf: KeyPath
    found: LeafSpec
    expected: LeafSpec


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What is copied, and what is not.

    Attributes:
        copies: In stored order of the destination.
        missing: Leaves of the destination that nothing is copied to.
        extra: Leaves of the source that are copied nowhere.
        mismatched: Leaves that would be copied by name and do not fit.
    """

    copies: tuple[PlannedCopy, ...]
    missing: tuple[KeyPath, ...]
    extra: tuple[KeyPath, ...]
    mismatched: tuple[Mismatch, ...] = ()


def parse_map(text: str) -> CopyRequest:
    """Reads `DST = SRC | TRANSFORM`.

    Raises:
        UsageError: It has no `=`, or a side is empty.
        TransformSyntaxError: The transform does not parse.

    Example:
        >>> parse_map("head.weight=embed.weight | transpose").src
        'embed.weight'
    """
    dst, equals, rest = text.partition("=")
    src, _, transform = rest.partition("|")
    if not equals or not dst.strip() or not src.strip():
        raise UsageError(f"`{text}` is no map", "Write DST=SRC or 'DST=SRC | TRANSFORM'; both sides may be patterns.")
    return CopyRequest(dst.strip(), src.strip(), Transform.parse(transform) if transform.strip() else SAME)


def plan_copy(
    source: Mapping[KeyPath, LeafSpec],
    source_ties: TieSet,
    destination: Mapping[KeyPath, LeafSpec],
    follows: Mapping[KeyPath, Tie],
    requests: Sequence[CopyRequest] = (),
) -> CopyPlan:
    """Plans which leaves get which values.

    Args:
        source: Every stored leaf of the source.
        source_ties: Ties of the source whose aliases are not stored; those can be copied from, too.
        destination: Every stored leaf of the destination.
        follows: Ties of the destination by alias.
        requests: What to copy; none for every leaf that both have by name.

    Raises:
        LeafNotFoundError: A pattern matches nothing.
        PairingError: The two sides of a request do not pair up.
        TransformMismatchError: What comes does not have the shape and dtype of the leaf it is for.
        TieConflictError: A leaf would get two values, or is an alias.
    """
    mismatched: list[Mismatch] = []
    if requests:
        copies = dict(_pair(requests, source, source_ties, destination, follows))
    else:
        copies = _pair_by_name(source, source_ties, destination, follows, mismatched)
    used = {path for copy in copies.values() for path in (*copy.sources, *copy.named)}
    wrong = {mismatch.leaf for mismatch in mismatched}
    return CopyPlan(
        tuple(copies[path] for path in destination if path in copies),
        tuple(path for path in destination if path not in copies and path not in wrong and path not in follows),
        tuple(path for path in source if path not in used and path not in wrong),
        tuple(mismatched),
    )


def _pair(
    requests: Sequence[CopyRequest],
    source: Mapping[KeyPath, LeafSpec],
    source_ties: TieSet,
    destination: Mapping[KeyPath, LeafSpec],
    follows: Mapping[KeyPath, Tie],
) -> Iterator[tuple[KeyPath, PlannedCopy]]:
    taken: dict[KeyPath, str] = {}
    names = (*source, *(alias for alias in source_ties.by_alias if alias not in source))
    for request in requests:
        for named, dst in pair_leaves(request.src, request.dst, (*destination, *follows), names):
            if dst in follows:
                tie = follows[dst]
                raise TieConflictError(
                    f"`{dst.spelling}` has no values of its own: {tie}",
                    f"Copy to `{tie.canonical}`, or `tiecli untie --dst {dst.spelling}` first.",
                )
            if dst in taken:
                raise TieConflictError(f"`{dst.spelling}` would get the values of `{taken[dst]}` and of others")
            taken[dst] = spell_leaves(named)
            copy = _resolve(dst, named, request.transform, source_ties, destination[dst])
            _check(copy, source)
            yield dst, copy


def _resolve(
    dst: KeyPath, named: tuple[KeyPath, ...], transform: Transform, ties: TieSet, spec: LeafSpec
) -> PlannedCopy:
    """Follows an alias of the source to the leaf it is made of."""
    if len(named) == 1 and named[0] in ties.by_alias:
        tie = ties.by_alias[named[0]]
        return PlannedCopy(dst, named, transform, tie.canonicals, compose(tie.transform, transform), spec)
    alias = next((path for path in named if path in ties.by_alias), None)
    if alias is not None:
        raise LeafNotFoundError(
            f"`{alias.spelling}` is not stored: {ties.by_alias[alias]}", "Name the leaf that it follows from."
        )
    return PlannedCopy(dst, named, transform, named, transform, spec)


def _check(copy: PlannedCopy, source: Mapping[KeyPath, LeafSpec]) -> None:
    made = copy.transform.spec([source[path] for path in copy.sources])
    if made != copy.spec:
        under = "" if copy.transform.is_same else f" under `{copy.transform}`"
        raise TransformMismatchError(
            f"`{spell_leaves(copy.sources)}`{under} is {made}, but `{copy.dst.spelling}` is {copy.spec}",
            "State what leads from one to the other: --map 'DST=SRC | TRANSFORM'; docs/transforms.md lists them.",
        )


def _pair_by_name(
    source: Mapping[KeyPath, LeafSpec],
    source_ties: TieSet,
    destination: Mapping[KeyPath, LeafSpec],
    follows: Collection[KeyPath],
    mismatched: list[Mismatch],
) -> dict[KeyPath, PlannedCopy]:
    """Pairs leaves that are called alike, however their positions are spelled."""
    names = {_spell(path): path for path in (*source, *source_ties.by_alias)}
    copies: dict[KeyPath, PlannedCopy] = {}
    for dst, spec in destination.items():
        named = names.get(_spell(dst))
        if named is None or dst in follows:
            continue
        copy = _resolve(dst, (named,), SAME, source_ties, spec)
        found = copy.transform.spec([source[path] for path in copy.sources])
        if found == spec:
            copies[dst] = copy
        else:
            mismatched.append(Mismatch(dst, found, spec))
    return copies


def _spell(path: KeyPath) -> str:
    return ".".join(map(str, path.keys))
