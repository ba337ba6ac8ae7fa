"""Planning: what would happen to each leaf, from specs alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tiecli.errors import (
    NothingToUntieError,
    TieConflictError,
    TransformMismatchError,
    UsageError,
)
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.patterns import pair_leaves, select_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME, Transform, permutations_that_fit

Side = Literal["src", "dst"]
Mode = Literal["omit", "alias"]
"""What becomes of an alias: it leaves the tree, or becomes a second name of its canonical leaf's bytes."""


@dataclass(frozen=True, slots=True)
class TieRequest:
    """One tie as a person asks for it: `dst := transform(src)`.

    Attributes:
        src: The canonical leaf, or a pattern of it; `(a, b)` for `concat` and `stack`.
        dst: The alias, or a pattern of it.
        transform: None means `same`, and that nobody vouches for it: a pair that also
            fits another transform is then refused.
    """

    src: str | KeyPath
    dst: str | KeyPath
    transform: Transform | None = None


@dataclass(frozen=True, slots=True)
class PlannedTie:
    """One tie with the specs it was checked against.

    Attributes:
        tie: Which leaf follows from which, rooted at stored leaves.
        alias_spec: Shape and dtype of the alias.
        canonical_specs: Shapes and dtypes of the canonical leaves.
        stated: Whether the person named the transform.
    """

    tie: Tie
    alias_spec: LeafSpec
    canonical_specs: tuple[LeafSpec, ...]
    stated: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen to each leaf; every stored leaf is kept, dropped or replaced.

    Attributes:
        ties: All ties of the new checkpoint, the old ones included, rooted anew.
        added: The new ones, whose aliases are dropped.
        restored: Ties that end, whose aliases are stored again.
        kept: Leaves whose stored bytes move unchanged.
        bytes_before: Leaf bytes stored now.
        bytes_after: Leaf bytes stored then.
    """

    ties: TieSet
    added: tuple[PlannedTie, ...]
    restored: tuple[PlannedTie, ...]
    kept: tuple[KeyPath, ...]
    bytes_before: int
    bytes_after: int


def plan_tie(
    specs: Mapping[KeyPath, LeafSpec],
    existing: TieSet,
    requests: Sequence[TieRequest],
    shared: Collection[KeyPath] = (),
    slots: Sequence[Tie] = (),
) -> Plan:
    """Plans which leaves become aliases.

    Args:
        specs: Every stored leaf.
        existing: The ties that the checkpoint has already.
        requests: The ties to add; patterns are expanded here.
        shared: Leaves that are second names of others' bytes.
        slots: Ties to add that need no pairing, since they follow from others; a request for the same is one with it.

    Raises:
        LeafNotFoundError: A pattern matches no stored leaf.
        PairingError: The two sides of a request do not pair up.
        TieConflictError: The ties contradict each other or the existing ones.
        TransformMismatchError: A transform does not give the alias's shape and dtype.
        ManifestError: A canonical leaf of an existing tie is not stored.
    """
    if not requests and not slots:
        raise UsageError("no tie was asked for", "Name one with --src and --dst, or try `tiecli find`.")
    existing.check_roots(specs)
    stated: dict[KeyPath, bool] = {}
    new_ties: list[Tie] = []
    aliases = existing.by_alias
    names = _name_leaves((*specs, *aliases))
    for request in requests:
        for sources, alias in _pair(request, names, aliases):
            new_ties.append(Tie(alias, sources, request.transform or SAME))
            stated[alias] = request.transform is not None
    new_ties += [slot for slot in slots if slot.alias not in stated]
    stated |= dict.fromkeys((slot.alias for slot in slots), True)
    return _plan_added(specs, TieSet((*existing, *new_ties)), stated, shared)


def plan_ties(specs: Mapping[KeyPath, LeafSpec], ties: TieSet) -> Plan:
    """Plans ties of leaves that are known exactly, every transform stated.

    Args:
        specs: Every leaf, aliases included.
        ties: All ties that there will be.

    Raises:
        TransformMismatchError: A transform does not give the alias's shape and dtype.
    """
    return _plan_added(specs, ties, {tie.alias: True for tie in ties}, ())


def _plan_added(
    specs: Mapping[KeyPath, LeafSpec], ties: TieSet, stated: Mapping[KeyPath, bool], shared: Collection[KeyPath]
) -> Plan:
    added = tuple(_check_specs(tie, specs[tie.alias], specs, stated[tie.alias]) for tie in ties if tie.alias in stated)
    dropped = {planned.tie.alias for planned in added}
    kept = tuple(path for path in specs if path not in dropped)
    before = _count_bytes(specs, shared)
    return Plan(ties, added, (), kept, before, before - sum(planned.alias_spec.nbytes for planned in added))


def plan_untie(
    specs: Mapping[KeyPath, LeafSpec],
    existing: TieSet,
    select: str | None = None,
    shared: Collection[KeyPath] = (),
    own: Collection[KeyPath] = (),
    along: Collection[KeyPath] = (),
) -> Plan:
    """Plans which aliases are stored again.

    Args:
        specs: Every stored leaf.
        existing: The ties that may end.
        select: Pattern of the aliases to restore; None for all.
        shared: Leaves that are second names of others' bytes.
        own: Aliases that were stored anew, with other values, which they keep when their ties end.
        along: Aliases that are restored with those that are selected: what an optimizer keeps for them.

    Raises:
        NothingToUntieError: The checkpoint has no tie.
        LeafNotFoundError: The pattern matches no alias.
        ManifestError: A canonical leaf is not stored.
    """
    if not existing.ties:
        raise NothingToUntieError(
            "this checkpoint has no tie to undo: no manifest, no tie in its metadata, none that its config declares",
            "`tiecli inspect` lists the ties of a checkpoint.",
        )
    chosen = {tie.alias for tie in existing}
    if select is not None:
        chosen = {*select_leaves(select, [tie.alias for tie in existing]), *along}
    existing.check_roots(specs)
    restored = []
    for tie in existing:
        if tie.alias in chosen and tie.alias not in own:
            sources = tuple(specs[path] for path in tie.canonicals)
            restored.append(PlannedTie(tie, tie.transform.spec(sources), sources))
    before = _count_bytes(specs, shared)
    remaining = TieSet(tuple(tie for tie in existing if tie.alias not in chosen))
    after = before + sum(planned.alias_spec.nbytes for planned in restored)
    kept = tuple(path for path in specs if path not in chosen or path in own)
    return Plan(remaining, (), tuple(restored), kept, before, after)


def _count_bytes(specs: Mapping[KeyPath, LeafSpec], shared: Collection[KeyPath]) -> int:
    return sum(spec.nbytes for path, spec in specs.items() if path not in shared)


def _name_leaves(paths: Iterable[KeyPath]) -> Mapping[str | KeyPath, KeyPath]:
    """Indexes leaves by how they are spelled, and by themselves."""
    names: dict[str | KeyPath, KeyPath] = {}
    for path in paths:
        known = names.setdefault(path.spelling, path)
        if known != path and str(path) == path.spelling:
            # Two leaves that are spelled alike: the text form of one has quotes, and can be given in full.
            names[path.spelling] = path
        names[path] = path
    return names


def _pair(
    request: TieRequest, names: Mapping[str | KeyPath, KeyPath], aliases: Mapping[KeyPath, Tie]
) -> tuple[tuple[tuple[KeyPath, ...], KeyPath], ...]:
    """Expands a request; plain names, of which a plan file may hold thousands, are looked up."""
    src, dst = names.get(request.src), names.get(request.dst)
    if src is not None and dst is not None and src != dst:
        pairs: tuple[tuple[tuple[KeyPath, ...], KeyPath], ...] = (((src,), dst),)
    else:
        texts = [side if isinstance(side, str) else str(side) for side in (request.src, request.dst)]
        pairs = pair_leaves(texts[0], texts[1], tuple(dict.fromkeys(names.values())))
    for _, alias in pairs:
        if alias in aliases:
            raise TieConflictError(
                f"`{alias.spelling}` is tied already: {aliases[alias]}",
                f"`tiecli untie --dst {alias.spelling}` first, to tie it to something else.",
            )
    return pairs


def _check_specs(tie: Tie, alias_spec: LeafSpec, specs: Mapping[KeyPath, LeafSpec], stated: bool) -> PlannedTie:
    sources = tuple(specs[path] for path in tie.canonicals)
    try:
        found = tie.transform.spec(sources)
    except TransformMismatchError as error:
        raise TransformMismatchError(
            f"`{tie.alias.spelling}` = {tie.canonical} | {tie.transform}: {error.message}", *error.hints
        ) from error
    if found != alias_spec:
        raise TransformMismatchError(
            f"`{tie.canonical}` under `{tie.transform}` is {found}, but `{tie.alias.spelling}` is {alias_spec}",
            _suggest_transform(sources, alias_spec),
        )
    return PlannedTie(tie, alias_spec, sources, stated)


def _suggest_transform(sources: tuple[LeafSpec, ...], alias: LeafSpec) -> str:
    """Words the hint for a pair whose specs differ: what would take one to the other."""
    source, steps = sources[0], list[str]()
    permutations = _fitting_permutations(source, alias) if len(sources) == 1 else ()
    if permutations:
        steps += [str(transform) for transform in permutations[:1] if not transform.is_same]
    elif len(sources) == 1 and source.shape[1:] == alias.shape[1:] and source.shape[:1] > alias.shape[:1] > ():
        steps.append(f"[:{alias.shape[0]}]")
    else:
        return "`tiecli find` looks for a transform that fits; docs/transforms.md lists them all."
    if source.dtype != alias.dtype:
        steps.append(f"cast({alias.dtype.name.lower()})")
    return f"Their shapes fit under --transform '{' | '.join(steps) or 'same'}'."


def _fitting_permutations(source: LeafSpec, alias: LeafSpec) -> tuple[Transform, ...]:
    return permutations_that_fit(source, LeafSpec(alias.shape, source.dtype))
