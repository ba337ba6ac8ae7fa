"""Gathering: which changes of a checkpoint some fixes come to, and which of them contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from tiecli.checkpoints.mending.changes import Changes, check_name
from tiecli.checkpoints.orbax.joining import join_databases
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import CheckpointError, FixError, TiecliError, UnreadableFileError
from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    Edit,
    IndexLeaf,
    JoinDatabases,
    RebuildIndex,
    RemovePath,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
    TieLeaves,
    UntieLeaf,
    WriteText,
)
from tiecli.linting.rule import Fix

CodedFix = tuple[str, Fix]
"""The code of a rule, and a fix for what it found."""


def gather_changes(unit: Unit, fixes: Sequence[CodedFix]) -> tuple[Changes, list[tuple[CodedFix, TiecliError]]]:
    """Gathers what some fixes change, each whole or not at all; of those that contradict each other, the first.

    Returns:
        The changes, and the fixes that are not among them: each wants something otherwise than
        one before it, or leads out of the checkpoint.

    Raises:
        UnreadableFileError: The system refuses to read a database.
    """
    changes = Changes()
    refused: list[tuple[CodedFix, TiecliError]] = []
    for coded in fixes:
        try:
            with changes.together():
                for edit in coded[1].edits:
                    if unit.format == "safetensors":
                        _enter_leaves(changes, edit)
                    else:
                        _enter_item(changes, unit, edit)
        except UnreadableFileError:
            raise
        except (FixError, CheckpointError) as error:
            refused.append((coded, error))
    return changes, refused


def _enter_leaves(changes: Changes, edit: Edit) -> None:
    """Enters an edit of a safetensors checkpoint."""
    match edit:
        case SetMetadata(file, key, value):
            changes.set_metadata(file, key, value)
        case RenameLeaf(leaf, name):
            changes.rename_leaf(leaf, name)
        case DropLeaf(leaf, file):
            changes.drop_leaf(leaf, file)
        case Repack(file):
            changes.repack(file)
        case RebuildIndex(file):
            changes.rebuild(file)
        case IndexLeaf(leaf, shard):
            changes.set_row(leaf, shard)
        case _:
            _enter_files(changes, edit)


def _enter_item(changes: Changes, unit: Unit, edit: Edit) -> None:
    """Enters an edit of an Orbax checkpoint."""
    if isinstance(edit, JoinDatabases):
        if edit.item != ".":
            check_name(edit.item)
        prefix = "" if edit.item == "." else f"{edit.item}/"
        for name, raw in join_databases(unit.directory / edit.item).items():
            changes.add_file(prefix + name, raw)
    else:
        _enter_files(changes, edit)


def _enter_files(changes: Changes, edit: Edit) -> None:
    """Enters an edit of files, or of ties, which come after all other edits."""
    match edit:
        case SetMember(file, place, key, value):
            changes.set_member(file, place, key, value)
        case DropMember(file, place, key):
            changes.set_member(file, place, key, None)
        case RenameFile(file, name):
            changes.move_file(file, name)
        case RemovePath(path):
            changes.remove(path)
        case WriteText(path, text):
            changes.add_text(path, text)
        case TieLeaves(canonical, alias, _):
            changes.keep_leaf(canonical)
            changes.keep_leaf(alias)
        case UntieLeaf(_, canonical):
            changes.keep_leaf(canonical)
        case _:
            raise FixError(f"{type(edit).__name__} is for checkpoints of the other format")


def group_fixes(unit: Unit, fixes: Sequence[CodedFix]) -> list[list[CodedFix]]:
    """Groups fixes that are carried out together.

    All of a safetensors directory are. Those of an Orbax checkpoint, whose steps are written
    and deleted by running programs, and those around a file that was given alone touch as
    little at once as they can: fixes go together that change the same places.
    """
    if unit.format == "safetensors" and unit.root == unit.directory:
        return [list(fixes)]
    groups: dict[frozenset[str], list[CodedFix]] = {}
    for code, fix in fixes:
        groups.setdefault(frozenset(_place(unit, edit) for edit in fix.edits), []).append((code, fix))
    return list(groups.values())


def _place(unit: Unit, edit: Edit) -> str:
    """Names what an edit changes: a file; of an Orbax checkpoint, the directory of one; or all that holds leaves."""
    match edit:
        case SetMember(name) | DropMember(name) | WriteText(name):
            return name if unit.format == "safetensors" else str(PurePosixPath(name).parent)
        case RemovePath(name) | JoinDatabases(name):
            return name
        case _:
            return unit.root.name
