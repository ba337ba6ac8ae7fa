"""File surveys: one safetensors file, sound or damaged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tiecli.checkpoints.safetensors.header import Header, parse_header
from tiecli.checkpoints.storedfile import open_regular, read_header, unreadable
from tiecli.errors import CheckpointError
from tiecli.leaves import LeafSpec

DamageKind = Literal[
    "truncated",
    "trailing",
    "hole",
    "overlap",
    "repeated-key",
    "size-mismatch",
    "unknown-dtype",
    "unreadable",
    "lfs-pointer",
    "metadata-type",
]


class Damage(NamedTuple):
    """One thing that is wrong with a file.

    Attributes:
        kind: What.
        leaves: The tensors it concerns.
        facts: The figures that a message about it needs, by name.
    """

    kind: DamageKind
    leaves: tuple[str, ...] = ()
    facts: Mapping[str, Any] = MappingProxyType({})


class FileSurvey(NamedTuple):
    """What can be told of one safetensors file.

    Attributes:
        name: Its name inside the checkpoint's directory.
        path: Where it is, links not followed.
        size: Bytes in the file.
        header: The parsed header of a sound file; None if anything is wrong with it.
        data_start: Where the data begins, counted from the start of the file; 0 if unknown.
        infos: What the header says of each tensor, right or wrong: `dtype`, `shape`, `data_offsets`.
        specs: Shape and dtype of each tensor for which both are valid, in the order written.
        metadata: `__metadata__` as it stands there; None without one.
        damages: What is wrong, in the order found.
    """

    name: str
    path: Path
    size: int
    header: Header | None
    data_start: int
    infos: Mapping[str, Mapping[str, Any]]
    specs: Mapping[str, LeafSpec]
    metadata: Mapping[str, Any] | None
    damages: tuple[Damage, ...] = ()


def survey_file(path: Path, name: str) -> FileSurvey:
    """Reads the header of a file, whatever state it is in.

    Raises:
        CheckpointNotFoundError: Nothing is there.
        UnreadableFileError: The system refuses, or it is no regular file.
    """
    descriptor, status = open_regular(path, name)
    try:
        raw = read_header(descriptor, status.st_size, name)
        header = parse_header(raw, name, status.st_size - 8 - len(raw))
    except OSError as error:
        raise unreadable(name, error) from error
    except CheckpointError as error:
        facts = {"reason": error.message}
        return FileSurvey(name, path, status.st_size, None, 0, {}, {}, None, (Damage("unreadable", (), facts),))
    finally:
        os.close(descriptor)
    return FileSurvey(
        name, path, status.st_size, header, header.data_start, header.infos, header.specs, header.metadata
    )
