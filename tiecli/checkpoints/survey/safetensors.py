"""Checkpoint surveys: all the files of a safetensors checkpoint, and what lies beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.safetensors.shardindex import SUFFIX, ShardIndex, find_emptied, stays_inside
from tiecli.checkpoints.safetensors.shardnames import read_shard_name
from tiecli.checkpoints.storedfile import read_text_file, unreadable
from tiecli.checkpoints.survey.files import FileSurvey, survey_file
from tiecli.checkpoints.survey.indexes import IndexSurvey, survey_index
from tiecli.checkpoints.survey.listings import is_directory
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import CheckpointNotFoundError


class SafetensorsSurvey(NamedTuple):
    """What can be told of a safetensors checkpoint.

    Attributes:
        unit: Which files it is made of.
        files: Those that are there, in the order of the index or of their names.
        missing: Files that the index names and that are not there, or not to be opened
            because they lie outside the directory.
        shard_index: The shard index; None without one.
        listing: Names of all files beside the weights, the weights included.
    """

    unit: Unit
    files: tuple[FileSurvey, ...]
    missing: tuple[str, ...]
    shard_index: IndexSurvey | None
    listing: frozenset[str]

    def text(self, name: str) -> bytes | None:
        """Reads a text file that lies beside the weights; None if there is none.

        Raises:
            UnreadableFileError: The system refuses, or it is absurdly large.
        """
        return read_text_file(self.unit.directory / name, name) if name in self.listing else None


def survey_safetensors(unit: Unit, listing: frozenset[str] | None = None) -> SafetensorsSurvey:
    """Reads every header and the index of a checkpoint.

    Args:
        unit: Which files it is made of.
        listing: What `list_names` gives for its directory, if that is known.

    Raises:
        UnreadableFileError: The system refuses.
        CheckpointNotFoundError: A file is gone since the unit was found.
    """
    listing = list_names(unit.directory) if listing is None else listing
    if unit.index_name is None:
        files = tuple(survey_file(unit.directory / name, name) for name in unit.files)
        return SafetensorsSurvey(unit, files, (), None, listing)
    index = survey_index(unit.directory / unit.index_name, unit.index_name)
    found: list[FileSurvey] = []
    missing: list[str] = []
    for name in dict.fromkeys((*_list_shards(index, listing), *unit.files)):
        file = _survey_shard(unit.directory, name, listing)
        if file is None:
            missing.append(name)
        else:
            found.append(file)
    return SafetensorsSurvey(unit, tuple(found), tuple(missing), index, listing)


def _list_shards(index: IndexSurvey, listing: frozenset[str]) -> tuple[str, ...]:
    """Lists the files of an index: those it names, and those that tying emptied; of a damaged one, all of its set."""
    if index.document is None or index.problems:
        stem = index.name.removesuffix(SUFFIX)
        fitting = (name for name in listing if (part := read_shard_name(name)) and part.stem == stem)
        return (*index.shards, *sorted(fitting))
    if index.escapes:
        return index.shards
    emptied = find_emptied(ShardIndex(index.name, index.raw, index.document))
    return (*index.shards, *(name for name in emptied if name in listing))


def _survey_shard(directory: Path, name: str, listing: frozenset[str]) -> FileSurvey | None:
    """Surveys a file that an index names; None if it is not there, or not to be looked for."""
    if name not in listing:
        # A listing that was refused is empty; else only a file of another directory is worth a look.
        worth = (not listing or "/" in name) and stays_inside(name)
        if not worth or not os.path.isfile(directory / name):  # noqa: PTH113  # Path's own fails on absurd names
            return None
    try:
        return survey_file(directory / name, name)
    except CheckpointNotFoundError:
        return None


def list_names(directory: Path) -> frozenset[str]:
    """Lists the names of everything in a directory that is not itself one.

    Raises:
        UnreadableFileError: The system refuses.
    """
    try:
        with os.scandir(directory) as entries:
            return frozenset(entry.name for entry in entries if not is_directory(entry))
    except PermissionError:
        # A file may be readable in a directory that cannot be listed.
        return frozenset()
    except OSError as error:
        raise unreadable(str(directory), error) from error
