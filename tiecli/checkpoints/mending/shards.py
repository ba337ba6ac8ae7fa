"""Shards: the draft of a safetensors checkpoint, its headers, index and ties kept in step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiecli.checkpoints.mending.changes import Changes
from tiecli.checkpoints.mending.drafts import Contents, Draft, draft_paths
from tiecli.checkpoints.mending.headers import lay_out_file
from tiecli.checkpoints.mending.indexes import Holdings, correct_sizes, rebuild_rows, total_size, write_index
from tiecli.checkpoints.mending.metadata import Turn, follow
from tiecli.checkpoints.mending.sources import Sources
from tiecli.checkpoints.storedfile import changed
from tiecli.checkpoints.survey.files import FileSurvey
from tiecli.checkpoints.survey.safetensors import SafetensorsSurvey
from tiecli.errors import FixError
from tiecli.leaves import LeafSpec

Names = Mapping[str, Mapping[str, str | None]]
"""By file, the new names of leaves that it holds; None for those that go."""


def draft_shards(survey: SafetensorsSurvey, sources: Sources, changes: Changes) -> Draft:
    """Decides every file of a mended checkpoint.

    Raises:
        FixError: It cannot be carried out; says why.
        InPlaceError: A symbolic link would have to be replaced.
        SourceChangedError: A file changed since the survey.
        UnreadableFileError: The system refuses.
    """
    files = {file.name: file for file in survey.files}
    for name in (*changes.metadata, *changes.repacked):
        if name not in files:
            raise FixError(f"`{name}` is no safetensors file of this checkpoint")
    names = _name_leaves(survey, changes)
    before = {name: {leaf: file.specs.get(leaf) for leaf in file.infos} for name, file in files.items()}
    after = {file: _rename(leaves, names.get(file, {})) for file, leaves in before.items()}
    _check_names(after, before, changes)
    stored = {leaf for leaves in after.values() for leaf in leaves}
    turn = Turn(
        changes.renamed,
        changes.dropped.keys() - stored,
        {file: name for file, name in changes.moved.items() if file != name},
    )
    written: dict[str, Contents] = {}
    for name, file in files.items():
        _draft_file(file, sources, changes, names.get(name, {}), turn, written)
    if survey.shard_index is not None:
        _draft_index(survey, sources, changes, turn, (before, after), written)
    elif changes.rebuilt or changes.rows:
        raise FixError("there is no shard index")
    return draft_paths(sources, changes, written)


def _name_leaves(survey: SafetensorsSurvey, changes: Changes) -> Names:
    """Finds the files whose leaves get other names, or go."""
    homes: dict[str, list[str]] = {}
    for file in survey.files:
        for leaf in changes.renamed.keys() & file.infos.keys() | changes.dropped.keys() & file.infos.keys():
            homes.setdefault(leaf, []).append(file.name)
    names: dict[str, dict[str, str | None]] = {}
    for leaf in (*changes.renamed, *changes.dropped):
        if leaf not in homes:
            raise FixError(f"`{leaf}` is not stored")
        wanted = changes.dropped.get(leaf, set(homes[leaf]))
        if wanted == {""} and len(homes[leaf]) > 1:
            raise FixError(f"`{leaf}` is stored {len(homes[leaf])} times, and none is told to go")
        for name in homes[leaf] if "" in wanted else wanted:
            if name not in homes[leaf]:
                raise FixError(f"`{leaf}` is not stored in `{name}`")
            names.setdefault(name, {})[leaf] = changes.renamed.get(leaf)
    return names


def _rename(leaves: Mapping[str, LeafSpec | None], names: Mapping[str, str | None]) -> dict[str, LeafSpec | None]:
    kept = [(names.get(leaf, leaf), spec) for leaf, spec in leaves.items()]
    return {name: spec for name, spec in kept if name is not None}


def _check_names(after: Holdings, before: Holdings, changes: Changes) -> None:
    """Checks that no new name is that of another leaf."""
    counts: dict[str, int] = {}
    for leaves in after.values():
        for leaf in leaves:
            counts[leaf] = counts.get(leaf, 0) + 1
    for leaf, name in changes.renamed.items():
        if counts.get(name, 0) != sum(leaf in leaves for leaves in before.values()):
            raise FixError(f"`{leaf}` cannot be called `{name}`, as another leaf is")


def _draft_file(
    file: FileSurvey,
    sources: Sources,
    changes: Changes,
    names: Mapping[str, str | None],
    turn: Turn,
    written: dict[str, Contents],
) -> None:
    """Lays a file out anew if its header changes, or if it is asked for."""
    old = file.metadata
    new = follow(old or {}, turn, changes.metadata.get(file.name, {}))
    if not names and new == (old or {}) and file.name not in changes.repacked:
        return
    odd = [key for key, value in new.items() if not isinstance(value, str)]
    if odd:
        raise FixError(f"`{odd[0]}` in the metadata of `{file.name}` is no string, and has to be mended, too")
    written[file.name] = lay_out_file(file, sources.open(file), names, new or None)


def _draft_index(
    survey: SafetensorsSurvey,
    sources: Sources,
    changes: Changes,
    turn: Turn,
    holdings: tuple[Holdings, Holdings],
    written: dict[str, Contents],
) -> None:
    """Has the index follow, if there is anything to follow."""
    index = survey.shard_index
    assert index is not None
    anew = bool(changes.rebuilt)
    if changes.rebuilt - {index.name}:
        raise FixError(f"`{min(changes.rebuilt)}` is not the index of this checkpoint")
    rows = _turn_rows(index.weight_map, changes, turn, holdings[1])
    if anew:
        rows = rebuild_rows(rows, holdings[1])
    old: Any = (index.document or {}).get("metadata")
    old = old if isinstance(old, dict) else {}
    metadata = follow(old, turn, {}) | correct_sizes(old, (index.weight_map, rows), holdings)
    if anew:
        metadata["total_size"] = total_size(holdings[1])
    lost = next((leaf for leaf, file in rows.items() if file in changes.removed), None)
    if lost is not None:
        raise FixError(f"`{rows[lost]}` holds `{lost}`, and therefore has to stay")
    rows = {leaf: turn.moved.get(file, file) for leaf, file in rows.items()}
    members = changes.members.get(index.name, {})
    if not anew and not members and rows == index.weight_map and metadata == old:
        return
    raw = write_index(index, rows, metadata, members, anew=anew)
    if sources.read(index.name) != index.raw:
        raise changed(index.name, "it was modified")
    if raw != index.raw:
        written[index.name] = raw


def _turn_rows(rows: Mapping[str, str], changes: Changes, turn: Turn, after: Holdings) -> dict[str, str]:
    """Has rows follow leaves that are renamed or go, and sets those that are asked for."""
    asked = dict(rows)
    for leaf, file in changes.rows.items():
        if file and turn.renamed.get(leaf, leaf) not in after.get(file, ()):
            raise FixError(f"`{file}` does not hold `{leaf}`, so no row can say so")
        asked[leaf] = file
    new: dict[str, str] = {}
    for leaf, file in asked.items():
        lost = leaf in changes.dropped and leaf not in after.get(file, ())
        home = next((other for other, leaves in after.items() if leaf in leaves), "") if lost else file
        if home and leaf not in turn.renamed:
            new[leaf] = home
    # A row of a leaf that was not there gives way to that of the one that gets its name.
    return new | {name: asked[leaf] for leaf, name in turn.renamed.items() if asked.get(leaf)}
