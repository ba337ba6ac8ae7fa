"""Sides: one checkpoint of a comparison, by names that both sides share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tiecli.checkpoints.nodes import read_nodes
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.declared import list_open_ties, list_ties
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie
from tiecli.transforms import SAME


class Side:
    """One checkpoint: what it stores, and what it states about the rest.

    Where the formats of the two checkpoints differ, a leaf of a tree goes by the name that it
    would have in a safetensors file: the exact text form of its keys.

    Attributes:
        reader: The checkpoint.
        specs: Every leaf that has stored bytes, be they another's as well.
        aliases: The ties whose alias has no stored bytes of its own.
        nodes: Places of the tree that hold no array, each with what it holds; a text stands in quotes.
        metadata: What the checkpoint carries for people, without what only repeats the leaves, the ties or the tree.
    """

    def __init__(self, reader: CheckpointReader, other: CheckpointReader) -> None:
        self.reader = reader
        self._across = reader.format != other.format
        self._own = {self.common(path): path for path in reader.specs()}
        self.specs = {path: reader.specs()[own] for path, own in self._own.items()}
        ties, common = list_open_ties(reader), self.common
        self.aliases = {
            common(tie.alias): Tie(common(tie.alias), tuple(map(common, tie.canonicals)), tie.transform) for tie in ties
        }
        self._stated = {
            common(tie.alias): replace(tie, alias=common(tie.alias), canonicals=tuple(map(common, tie.canonicals)))
            for tie in list_ties(reader)
        }
        self.nodes: Mapping[KeyPath, str] = {}
        self.metadata = dict(reader.metadata())
        if self._across or reader.format == "orbax":
            self._describe_tree({tie.alias for tie in ties})
        plain = {(tie.alias.spelling, tie.canonical) for tie in self._stated.values() if tie.transform == str(SAME)}
        for key in [key for key, text in self.metadata.items() if (key, text) in plain or key == "total_size"]:
            del self.metadata[key]

    def _describe_tree(self, aliases: set[KeyPath]) -> None:
        """Lists the nodes of the tree, and forgets the metadata that stands for it."""
        nodes = read_nodes(self.reader)
        # Where an alias has left, a None may stand.
        left = {alias.keys[:depth] for alias in aliases for depth in range(len(alias.keys) + 1)}
        self.nodes = {
            KeyPath.from_name(str(path)) if self._across else path: kind
            for path, kind in nodes.kinds.items()
            if path.keys not in left
        }
        for key in nodes.keys:
            self.metadata.pop(key, None)

    def common(self, path: KeyPath) -> KeyPath:
        """Gives the name by which both sides know a leaf."""
        return KeyPath.from_name(str(path)) if self._across and self.reader.format == "orbax" else path

    def own(self, path: KeyPath) -> KeyPath:
        """Gives the name that a stored leaf has on this side."""
        return self._own[path]

    def has(self, path: KeyPath) -> bool:
        """Says whether a leaf is there, stored or as an alias."""
        return path in self.specs or path in self.aliases

    def is_plain(self, path: KeyPath) -> bool:
        """Says whether a leaf has stored bytes of its own."""
        return path in self.specs and path not in self.aliases

    def tie(self, path: KeyPath) -> str | None:
        """Spells the tie that is stated for a leaf, whether or not it is stored as well."""
        if path in self.aliases:
            return str(self.aliases[path])
        stated = self._stated.get(path)
        if stated is None:
            return None
        then = "" if stated.transform == str(SAME) else f" | {stated.transform}"
        return f"{stated.alias.spelling} = {stated.canonical}{then}"
