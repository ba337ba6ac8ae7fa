"""Tying: every tie that a checkpoint, its config or the project's settings speak about."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tiecli.architectures.pairs import KnownPair, class_pairs, guess_pairs
from tiecli.errors import TiecliError
from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.linting.listing import knows_all_names, list_names

if TYPE_CHECKING:
    from tiecli.linting.declaring import DeclaredPair
    from tiecli.linting.subject import Subject


@dataclass(frozen=True, slots=True)
class StatedTie:
    """One pair of leaves that something speaks about, stored or not.

    Attributes:
        alias: The leaf that follows.
        canonical: The leaf it follows from; several are written `(a, b)`.
        transform: How, in text form.
        tied: Whether it is to be tied. False only of a pair that the config's class would tie
            and whose flag says no.
        origin: Who says so, for people.
        source: The same for rules.
        disputed: Whether it is not certain: transformers 4 and 5 read the flag differently
            (TIE005 and TIE006 say so; `tied` is true if one of them ties), or the pair is one
            of many layers, which other settings switch as well. Other rules keep silent.
        kind: Of a config's pair, how it was found.
        parts: The leaves that `canonical` lists, where it is several; for manifests and settings.
    """

    alias: str
    canonical: str
    transform: str
    tied: bool
    origin: str
    source: Literal["config", "settings", "manifest", "metadata"]
    disputed: bool = False
    kind: Literal["whole", "bare", "layered", "guessed"] = "whole"
    parts: tuple[str, ...] = ()

    @property
    def guessed(self) -> bool:
        """Whether only names make it a pair, the class being unknown."""
        return self.kind == "guessed"


def list_stated(subject: Subject) -> tuple[StatedTie, ...]:
    """Lists what config, settings, manifest and metadata say about pairs of leaves, in that order.

    Works on damaged checkpoints as far as their headers can be read; a damaged manifest says nothing.
    A pair that several speak about is listed as often.
    """
    names = list_names(subject)
    stated = [_read_pair(pair) for pair in _list_pairs(subject, names)]
    recorded = [*_from_manifests(subject), *_from_metadata(subject, names)]
    if subject.declared:
        spoken = {name for tie in (*stated, *recorded) for name in (tie.alias, tie.canonical)}
        for declared in subject.declared:
            stated += _expand(subject, declared, spoken)
    return (*stated, *recorded)


def list_unmatched(subject: Subject) -> tuple[DeclaredPair, ...]:
    """Lists the declared ties whose names no leaf of the checkpoint has, nor anything that speaks about its leaves.

    None of a checkpoint whose leaves cannot all be told.
    """
    if not subject.declared or not knows_all_names(subject):
        return ()
    stated = [tie for tie in subject.stated if tie.source != "settings"]
    spoken = {name for tie in stated for name in (tie.alias, tie.canonical)}
    return tuple(pair for pair in subject.declared if not any(True for _ in _expand(subject, pair, spoken)))


def _list_pairs(subject: Subject, names: Collection[str]) -> tuple[KnownPair, ...]:
    if subject.config is None:
        return ()
    pairs = class_pairs(subject.config, names)
    return guess_pairs(subject.config, subject.naming.alone) if pairs is None else pairs


def _read_pair(pair: KnownPair) -> StatedTie:
    tied = pair.newer or pair.older
    disputed = pair.newer != pair.older or pair.kind == "layered"
    return StatedTie(pair.alias, pair.canonical, "same", tied, pair.origin, "config", disputed, pair.kind)


def _expand(subject: Subject, pair: DeclaredPair, spoken: Collection[str]) -> Iterator[StatedTie]:
    """Expands the patterns of a declared tie over the stored names and those of leaves that others say are implied.

    What pairs up with nothing is meant for other checkpoints.
    """
    from tiecli.patterns import pair_leaves

    names = list_names(subject)
    if subject.unit.format == "orbax":
        stored = tuple(subject.reader.specs()) if subject.reader else ()
    else:
        stored = tuple(map(KeyPath.from_name, names))
    others = tuple(KeyPath.from_name(name) for name in spoken if name not in names)
    for known in ((*stored, *others), stored):
        try:
            found = pair_leaves(pair.src, pair.dst, known)
        except TiecliError:
            continue
        for sources, alias in found:
            parts = tuple(path.spelling for path in sources) if len(sources) > 1 else ()
            yield _declare(alias.spelling, spell_leaves(sources), pair.transform, parts)
        return
    if not {"*", "{", "("} & {*pair.src, *pair.dst} and (pair.src in names or pair.dst in names):
        yield _declare(pair.dst, pair.src, pair.transform)


def _declare(alias: str, canonical: str, transform: str, parts: tuple[str, ...] = ()) -> StatedTie:
    return StatedTie(alias, canonical, transform, True, "the project's settings", "settings", parts=parts)


def _from_manifests(subject: Subject) -> Iterator[StatedTie]:
    """Lists the ties of tiecli's manifest."""
    for record in subject.aliases.records:
        tie = record.tie
        parts = tuple(path.spelling for path in tie.canonicals) if len(tie.canonicals) > 1 else ()
        shown, transform = spell_leaves(tie.canonicals), str(tie.transform)
        yield StatedTie(tie.alias.spelling, shown, transform, True, "tiecli's manifest", "manifest", parts=parts)


def _from_metadata(subject: Subject, names: Collection[str]) -> Iterator[StatedTie]:
    """Lists `alias -> canonical` strings, as `safetensors.torch.save_model` writes them, if they lead to a leaf."""
    for alias, _ in subject.aliases.places:
        root = subject.aliases.find_root(subject.aliases.targets[alias])
        if root in names and root != alias:
            yield StatedTie(alias, root, "same", True, "the file's metadata", "metadata")
