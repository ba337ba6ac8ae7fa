"""Index surveys: a shard index, sound or damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tiecli.checkpoints.safetensors.shardindex import parse_index
from tiecli.checkpoints.storedfile import read_text_file
from tiecli.errors import CheckpointError, CheckpointNotFoundError


class IndexSurvey(NamedTuple):
    """What can be told of a shard index.

    Attributes:
        name: The file's name.
        path: Where it is.
        raw: Its bytes.
        document: The whole JSON; None if it does not parse to an object.
        weight_map: The rows that name a file, tensor names to file names; paths that lead
            out of the directory are among them.
        problems: What is wrong with it as JSON or as an index, worded to follow "Index ".
    """

    name: str
    path: Path
    raw: bytes
    document: Mapping[str, Any] | None
    weight_map: Mapping[str, str]
    problems: tuple[str, ...] = ()

    @property
    def shards(self) -> tuple[str, ...]:
        """The files that it names, in the order of their first mention."""
        return tuple(dict.fromkeys(self.weight_map.values()))


def survey_index(path: Path, name: str) -> IndexSurvey:
    """Reads an index, whatever state it is in.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreadableFileError: The system refuses, or it is absurdly large.
    """
    raw = read_text_file(path, name)
    if raw is None:
        raise CheckpointNotFoundError(f"`{path}` is gone", "Run the command again.")
    try:
        index = parse_index(raw, name)
    except CheckpointError as error:
        return IndexSurvey(name, path, raw, None, {}, (error.message,))
    return IndexSurvey(name, path, raw, index.document, index.weight_map)
