"""Checkpoint surveys: all the files of a safetensors checkpoint, and what lies beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.storedfile import read_text_file, unreadable
from tiecli.checkpoints.survey.files import FileSurvey, survey_file
from tiecli.checkpoints.survey.indexes import IndexSurvey, survey_index
from tiecli.checkpoints.survey.units import Unit


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


def survey_safetensors(unit: Unit) -> SafetensorsSurvey:
    """Reads every header and the index of a checkpoint.

    Raises:
        UnreadableFileError: The system refuses.
        CheckpointNotFoundError: A file is gone since the unit was found.
    """
    listing = list_names(unit.directory)
    index = None if unit.index_name is None else survey_index(unit.directory / unit.index_name, unit.index_name)
    names = dict.fromkeys((*(index.shards if index else ()), *unit.files))
    inside = {name: not index or _stays_inside(name) for name in names}
    there = [name for name in names if inside[name] and (name in listing or (unit.directory / name).exists())]
    missing = tuple(name for name in names if name not in there)
    files = tuple(survey_file(unit.directory / name, name) for name in there)
    return SafetensorsSurvey(unit, files, missing, index, listing)


def list_names(directory: Path) -> frozenset[str]:
    """Lists the names of everything in a directory that is not itself one.

    Raises:
        UnreadableFileError: The system refuses.
    """
    try:
        with os.scandir(directory) as entries:
            return frozenset(entry.name for entry in entries if not entry.is_dir())
    except PermissionError:
        # A file may be readable in a directory that cannot be listed.
        return frozenset()
    except OSError as error:
        raise unreadable(str(directory), error) from error


def _stays_inside(name: str) -> bool:
    """Whether a file name of an index stays in its directory, on any system."""
    parts = name.replace("\\", "/").split("/")
    return bool(name) and ".." not in parts and not name.startswith("/") and "\0" not in name and name[1:2] != ":"
