"""Tied groups: the pairs that are to be tied, and those whose canonical leaf is not there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

from tiecli.architectures.pairs import guess_heads
from tiecli.architectures.roles import find_role
from tiecli.linting.listing import knows_all_names, list_names

if TYPE_CHECKING:
    from tiecli.leaves import LeafSpec
    from tiecli.linting.subject import Subject
    from tiecli.linting.tying import StatedTie


class Orphans(NamedTuple):
    """Stored leaves whose canonical leaf is not stored.

    Attributes:
        canonical: What is missing.
        stored: What follows from it and is stored, in the order of the class.
        shared: Whether the missing leaf is a table that encoder and decoder share.
        certain: Whether all releases tie them, as the class itself names them.
    """

    canonical: str
    stored: tuple[str, ...]
    shared: bool
    certain: bool


def list_tied(subject: Subject) -> Iterator[StatedTie]:
    """Yields the pairs that config or settings tie beyond doubt, each once."""
    seen = set()
    for tie in subject.stated:
        key = tie.alias, tie.canonical
        if tie.tied and not tie.disputed and tie.source in ("config", "settings") and key not in seen:
            seen.add(key)
            yield tie


def list_stored_ties(subject: Subject) -> Iterator[tuple[StatedTie, tuple[LeafSpec, ...], LeafSpec]]:
    """Yields the pairs that are to be tied and are stored all the same, with what each is made from and what it is."""
    specs = subject.specs
    for tie in list_tied(subject):
        sources = [specs.get(name) for name in tie.parts or (tie.canonical,)]
        target = specs.get(tie.alias)
        found = tuple(spec for spec in sources if spec is not None)
        if target is not None and len(found) == len(sources):
            yield tie, found, target


def derive_spec(tie: StatedTie, sources: tuple[LeafSpec, ...]) -> LeafSpec:
    """Says what an alias must look like.

    Raises:
        TransformSyntaxError: Settings declare a transform that is none.
        TransformMismatchError: The sources do not fit it.
    """
    if tie.transform == "same":
        return sources[0]
    from tiecli.transforms import Transform

    return Transform.parse(tie.transform).spec(sources)


def has_any_leaf(subject: Subject) -> bool:
    """Whether the config speaks of leaves of this checkpoint; beside some files lies the config of another model."""
    names = list_names(subject)
    if not names:
        return False
    pairs = [tie for tie in subject.stated if tie.source == "config"]
    if pairs:
        return any(tie.alias in names or tie.canonical in names for tie in pairs)
    heads, embeddings = guess_heads(subject.naming.alone)
    return bool(heads or embeddings)


def is_there(leaf: str, names: Collection[str]) -> bool:
    """Whether a leaf is stored, be it under other names because it was quantised."""
    if leaf in names:
        return True
    layer, dot, _ = leaf.rpartition(".")
    inside = layer + dot
    return bool(dot) and any(name.startswith(inside) and not name.endswith("bias") for name in names)


def list_orphans(subject: Subject) -> Iterator[Orphans]:
    """Yields the groups of tied leaves of which some are stored and the canonical one is not."""
    names = list_names(subject)
    groups: dict[str, list[StatedTie]] = {}
    for tie in subject.stated:
        if tie.tied and tie.source in ("config", "settings") and tie.kind != "layered" and tie.transform == "same":
            groups.setdefault(tie.canonical, []).append(tie)
    for canonical, ties in groups.items():
        stored = tuple(dict.fromkeys(tie.alias for tie in ties if tie.alias in names))
        if not stored or is_there(canonical, names) or not knows_all_names(subject):
            continue
        shared = find_role(canonical) == "shared" or any(find_role(tie.alias) == "embedding" for tie in ties)
        yield Orphans(canonical, stored, shared, not any(tie.disputed for tie in ties))
