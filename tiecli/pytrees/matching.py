"""Matching: which leaf of a checkpoint stands where in a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.declared import list_open_ties
from tiecli.errors import KeyPathSyntaxError, LeafNotFoundError
from tiecli.keypaths import KeyPath
from tiecli.pytrees.nodes import Tree, is_array, is_none, list_nodes
from tiecli.ties import Tie, TieSet


class Held(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        stored: The path of each leaf that is stored on its own account, by its place in the tree.
        ties: Which leaves follow from those, in places of the tree.
    """

    stored: Mapping[KeyPath, KeyPath]
    ties: TieSet


def list_held(reader: CheckpointReader) -> Held:
    """Lists what a checkpoint holds, by place in the tree that its names spell.

    Raises:
        ManifestError: The manifest is damaged, or names a leaf that is not stored.
        ConfigFileError: `config.json` is damaged.
        TieConflictError: What is declared contradicts itself.
    """
    rename = _place if reader.format == "safetensors" else _keep
    ties = TieSet(
        tuple(
            Tie(rename(tie.alias), tuple(map(rename, tie.canonicals)), tie.transform) for tie in list_open_ties(reader)
        )
    )
    places = {rename(path): path for path in reader.specs()}
    stored = {place: path for place, path in places.items() if place not in ties.by_alias}
    ties.check_roots(stored)
    return Held(stored, ties)


def _keep(path: KeyPath) -> KeyPath:
    return path


def _place(path: KeyPath) -> KeyPath:
    """Reads a name of a safetensors file as a place: exact forms of key paths have brackets or quotes."""
    name = path.spelling
    if "[" not in name and '"' not in name:
        return path
    try:
        typed = KeyPath.parse(name)
    except KeyPathSyntaxError:
        return path
    return typed if str(typed) == name else path


class Matched(NamedTuple):
    """What the leaves of a tree are in a checkpoint.

    Attributes:
        leaves: Places of the tree's arrays, and of None where an alias may stand; what the checkpoint calls them.
        ties: Those between leaves of the tree, in its own names.
        foreign: Aliases of the tree that follow from leaves which it has not, in the checkpoint's names.
    """

    leaves: Mapping[KeyPath, KeyPath]
    ties: TieSet
    foreign: Mapping[KeyPath, Tie]


def match_leaves(like: Tree, held: Held) -> Matched:
    """Finds the leaves of a tree in a checkpoint: by their very keys, or without regard to which of these are indices.

    Raises:
        LeafNotFoundError: The checkpoint has not one of them.
    """
    aliases = held.ties.by_alias
    spelled: dict[str, list[KeyPath]] = {}
    for place in (*held.stored, *aliases):
        spelled.setdefault(_spell(place), []).append(place)
    leaves: dict[KeyPath, KeyPath] = {}
    for place, node in list_nodes(like, is_none)[0].items():
        near = spelled.get(_spell(place), [])
        found = place if place in near else near[0] if len(near) == 1 else None
        if found is not None and (is_array(node) or (node is None and found in aliases)):
            leaves[place] = found
        elif is_array(node):
            raise LeafNotFoundError(f"the checkpoint has no leaf `{place.spelling}`", "`tiecli inspect` lists them.")
    places = {found: place for place, found in leaves.items()}
    own, foreign = [], {}
    for place, found in leaves.items():
        if found not in aliases:
            continue
        tie = aliases[found]
        if all(path in places for path in tie.canonicals):
            own.append(Tie(place, tuple(places[path] for path in tie.canonicals), tie.transform))
        else:
            foreign[place] = tie
    return Matched(leaves, TieSet(tuple(own)), foreign)


def _spell(path: KeyPath) -> str:
    """Spells a place alike however positions are spelled."""
    return ".".join(map(str, path.keys))
