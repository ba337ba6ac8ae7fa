"""Placing: which leaf an index places in which file, and which files really hold it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tiecli.checkpoints.safetensors.shardnames import ShardName, read_shard_name

if TYPE_CHECKING:
    from tiecli.checkpoints.survey.files import FileSurvey
    from tiecli.linting.subject import Subject

Leaves = tuple[str, ...]


class Placement(NamedTuple):
    """Where index and files disagree; nothing of a sound checkpoint, or of one file.

    Attributes:
        absent: Leaves that the index places in a file that does not hold them, by that file.
        unindexed: Leaves without a row in the index, by the file that holds them.
        doubled: Leaves that several files hold, by those files.
        homes: All files that hold a leaf, for each leaf that is absent or doubled and is held at all.
    """

    absent: Mapping[str, Leaves] = MappingProxyType({})
    unindexed: Mapping[str, Leaves] = MappingProxyType({})
    doubled: Mapping[Leaves, Leaves] = MappingProxyType({})
    homes: Mapping[str, Leaves] = MappingProxyType({})


def is_readable(file: FileSurvey) -> bool:
    """Whether it can be told which leaves a file holds."""
    return file.header is not None or bool(file.infos)


def place_leaves(subject: Subject) -> Placement:
    """Holds the rows of the index against the headers of the files, as far as they can be read."""
    index = subject.safetensors.shard_index
    rows = index.weight_map if index else {}
    files = [file for file in subject.files if is_readable(file)]
    if index is None and len(files) < 2:
        return Placement()
    found: dict[str, str] = {}
    for file in files:
        found.update(dict.fromkeys(file.infos, file.name))
    if len(found) == sum(len(file.infos) for file in files) and (found == rows or not rows):
        return Placement()
    doubled, homes = _find_doubled(files, found)
    absent: dict[str, list[str]] = {}
    held = {file.name: file.infos for file in files}
    for leaf, shard in rows.items():
        if shard in held and leaf not in held[shard]:
            absent.setdefault(shard, []).append(leaf)
            if leaf in found:
                homes.setdefault(leaf, (found[leaf],))
    unindexed: dict[str, list[str]] = {}
    # What stands in the index as something else than a file name is the index's own trouble.
    for leaf, name in found.items() if rows and index and not index.problems else ():
        if leaf not in rows and leaf not in homes:
            unindexed.setdefault(name, []).append(leaf)
    return Placement(_freeze(absent), _freeze(unindexed), doubled, homes)


def _freeze(groups: Mapping[str, list[str]]) -> Mapping[str, Leaves]:
    return {name: tuple(leaves) for name, leaves in groups.items()}


def _find_doubled(
    files: list[FileSurvey], last: Mapping[str, str]
) -> tuple[Mapping[Leaves, Leaves], dict[str, Leaves]]:
    """Finds leaves that several files hold; `last` names the last file that holds each."""
    homes: dict[str, Leaves] = {}
    for file in files:
        for leaf in file.infos:
            if leaf in homes or last[leaf] != file.name:
                homes[leaf] = (*homes.get(leaf, ()), file.name)
    groups: dict[Leaves, list[str]] = {}
    for leaf, names in homes.items():
        groups.setdefault(names, []).append(leaf)
    return {names: tuple(leaves) for names, leaves in groups.items()}, homes


class ShardSet(NamedTuple):
    """Files whose names say that they are numbered parts of one set.

    Attributes:
        files: Their names, by number.
        first: How the first of them is spelled.
    """

    files: Mapping[int, str]
    first: ShardName

    @property
    def lacking(self) -> tuple[int, int]:
        """How many numbers the set should have, and how many of them no file has."""
        total = int(self.first.total)
        start = 0 if 0 in self.files else 1
        return total, total - sum(start <= number < start + total for number in self.files)

    @property
    def is_whole(self) -> bool:
        """Whether its numbers run from 1, or from 0, to its end without a gap."""
        total, lacking = self.lacking
        return lacking == 0 and len(self.files) == total


def list_sets(names: Iterable[str]) -> tuple[ShardSet, ...]:
    """Groups file names into numbered sets; names without numbers belong to none.

    Example:
        >>> [(found.first.total, found.is_whole) for found in list_sets(["m-1-of-2.safetensors", "n.safetensors"])]
        [('2', False)]
    """
    sets: dict[tuple[str, int], dict[int, tuple[str, ShardName]]] = {}
    for name in names:
        part = read_shard_name(name)
        if part is not None:
            sets.setdefault((part.stem, int(part.total)), {}).setdefault(part.number, (name, part))
    return tuple(
        ShardSet({number: members[number][0] for number in sorted(members)}, members[min(members)][1])
        for members in sets.values()
    )
