"""Aliases: which names a checkpoint's own metadata says are others' second names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiecli.errors import TiecliError
from tiecli.linting.edits import DropMember, SetMetadata
from tiecli.linting.listing import list_names

if TYPE_CHECKING:
    from tiecli.linting.subject import Subject
    from tiecli.manifest import Manifest, TieRecord

KEY = "tiecli"
_PATH = re.compile(r"[^\s.]+(?:\.[^\s.]+)+")
_LONGEST = 1000
# Source: safetensors, huggingface_hub and tiecli; none of these is a leaf, whatever stands there.
_KEYS = frozenset({"format", "total_size", "total_parameters", KEY})

Pair = tuple[str, str]
"""The alias, and the name that it stands for."""


@dataclass
class Aliases:
    """What metadata says of second names.

    Attributes:
        names: The names of all stored leaves.
        places: Each pair that stands in metadata as strings, with the files where it does.
        records: The ties of the manifests.
    """

    names: Collection[str]
    places: Mapping[Pair, tuple[str, ...]]
    records: tuple[TieRecord, ...] = ()
    _roots: dict[str, str] = field(default_factory=dict)

    @cached_property
    def targets(self) -> Mapping[str, str]:
        """What each alias stands for, as metadata and manifests say; the first to name it wins."""
        found: dict[str, str] = {}
        for alias, target in self.pairs:
            found.setdefault(alias, target)
        return found

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs of metadata, then those of manifests, each once."""
        recorded = (
            (record.tie.alias.spelling, path.spelling) for record in self.records for path in record.tie.canonicals
        )
        return tuple(dict.fromkeys((*self.places, *recorded)))

    @cached_property
    def files(self) -> Mapping[str, str]:
        """In which file each alias stands first; of manifests nothing is told."""
        return {alias: files[0] for (alias, _), files in reversed(tuple(self.places.items())) if files}

    @cached_property
    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """The rings of aliases that stand for one another, each from its first name on."""
        return tuple(_find_cycles(self.targets))

    def find_root(self, name: str) -> str:
        """Follows aliases to the leaf that is stored, or to the last name there is, or to a name of a ring."""
        passed: dict[str, None] = {}
        while name not in self.names and name in self.targets and name not in passed and name not in self._roots:
            passed[name] = None
            name = self.targets[name]
        root = self._roots.get(name, name)
        # A chain of a million is walked once, and not from each of its names.
        self._roots.update(dict.fromkeys(passed, root))
        return root


def read_aliases(subject: Subject) -> Aliases:
    """Reads the metadata of the files and of the index, and tiecli's manifests; a damaged manifest says nothing."""
    names = list_names(subject)
    held = [(file.name, file.metadata) for file in subject.files if file.metadata]
    index = subject.safetensors.shard_index if subject.unit.format == "safetensors" else None
    inner = index.document.get("metadata") if index and index.document else None
    if index and isinstance(inner, dict):
        held.append((index.name, inner))
    records = tuple(record for manifest in _read_manifests(subject, held) for record in manifest.records)
    if all(metadata.keys() <= _KEYS for _, metadata in held):
        return Aliases(names, {}, records)
    return Aliases(names, _list_places(held, names), records)


def drop_alias(subject: Subject, pair: Pair) -> tuple[SetMetadata | DropMember, ...]:
    """Lists the edits that take a pair out of all metadata; none if only a manifest holds it."""
    index = subject.safetensors.shard_index
    return tuple(
        DropMember(file, ("metadata",), pair[0])
        if index is not None and file == index.name
        else SetMetadata(file, pair[0], None)
        for file in subject.aliases.places.get(pair, ())
    )


def _list_places(held: list[tuple[str, Mapping[str, Any]]], names: Collection[str]) -> Mapping[Pair, tuple[str, ...]]:
    """Picks what can only be meant as `alias -> leaf` out of metadata, which may hold any strings."""
    strings = {
        (key, value): None
        for _, metadata in held
        for key, value in metadata.items()
        if isinstance(value, str) and key not in _KEYS and len(value) <= _LONGEST
    }
    pairs: dict[Pair, list[str]] = {pair: [] for pair in _choose_meant(tuple(strings), names)}
    for file, metadata in held:
        for key, value in metadata.items() if pairs else ():
            if isinstance(value, str) and (key, value) in pairs:
                pairs[key, value].append(file)
    return {pair: tuple(files) for pair, files in pairs.items()}


def _choose_meant(strings: Sequence[Pair], names: Collection[str]) -> Iterator[Pair]:
    """Chooses what leads to a leaf, to what looks like one, or to itself; other values may be keys by chance."""
    keys = {key for key, _ in strings}
    links = [(alias, target) for alias, target in strings if target in keys and target != alias]
    endings: set[str] = set()
    rings = {name for ring in _find_cycles(dict(reversed(links))) for name in ring}
    meant = {pair for pair in links if pair[0] in rings}
    for alias, target in strings:
        if target in names:
            meant.add((alias, target))
        elif _PATH.fullmatch(alias) and _PATH.fullmatch(target):
            # Two names alone could be anything; those of leaves end as other leaves do.
            endings = endings or {name.rpartition(".")[2] for name in names}
            if {alias.rpartition(".")[2], target.rpartition(".")[2]} <= endings:
                meant.add((alias, target))
    followers: dict[str, list[Pair]] = {}
    for pair in links:
        followers.setdefault(pair[1], []).append(pair)
    pending = list(meant)
    while pending:
        more = followers.pop(pending.pop()[0], [])
        meant.update(more)
        pending += more
    return (pair for pair in strings if pair in meant)


def _read_manifests(subject: Subject, held: list[tuple[str, Mapping[str, Any]]]) -> Iterator[Manifest]:
    if subject.unit.format == "safetensors":
        texts = [metadata[KEY] for _, metadata in held if KEY in metadata]
        if not texts:
            return
        from tiecli.manifest import Manifest

        for text in dict.fromkeys(text for text in texts if isinstance(text, str)):
            try:
                yield Manifest.from_json(text)
            except TiecliError:
                continue
    elif subject.reader is not None:
        try:
            manifest = subject.reader.manifest()
        except TiecliError:
            return
        if manifest is not None:
            yield manifest


def _find_cycles(targets: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Walks every chain once."""
    done: set[str] = set()
    for start in targets:
        chain: dict[str, None] = {}
        name = start
        while name in targets and name not in done:
            done.add(name)
            chain[name] = None
            name = targets[name]
        if name in chain:
            ring = list(chain)
            yield tuple(ring[ring.index(name) :])
