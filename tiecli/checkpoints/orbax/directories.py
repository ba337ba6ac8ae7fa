"""Directories: what a directory of an Orbax checkpoint is, told by the names in it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

from tiecli.checkpoints.storedfile import read_text_file, unreadable

TREE = "_METADATA"
STEP = "_CHECKPOINT_METADATA"
DATABASE = "manifest.ocdbt"
TEMPORARY = ".orbax-checkpoint-tmp"
DELETION = "_CHECKPOINT_DELETION"
COMMITTED = "commit_success.txt"

# Each process writes a database of its own, in a directory that begins so.
PROCESS = "ocdbt.process_"

# The new API marks what its `save` wrote, but not the steps of its training checkpointer.
MARKER = "orbax.checkpoint"

# The single msgpack file that Orbax wrote leaves into before it had `_METADATA`.
_AGGREGATE = "checkpoint"
# The JSON handler's file, and that of the metrics.
_JSON = ("metadata", "metrics")
_REMAINS = frozenset({DATABASE, "_sharding", "_strings.json", "array_metadatas"})
_ARRAYS = (".zarray", "zarr.json")

# Source: orbax-checkpoint 0.12.8, `standard_name_format`: an optional prefix and `_`, then digits, maybe padded.
_STEP_NAME = re.compile(r"(?:.+_)?([0-9]{1,18})")

Kind = Literal["tree", "json", "aggregate", "unfinished", "empty", "other"]
Level = Literal["item", "step", "root"]


class Listing(NamedTuple):
    """The names in a directory; links count as what they lead to."""

    files: frozenset[str]
    directories: frozenset[str]


class Part(NamedTuple):
    """One item of a step.

    Attributes:
        name: Its name.
        kind: `tree` has leaves; `json` is a JSON item; `aggregate` is the msgpack form of
            old; `unfinished` has data and lacks what makes them readable.
    """

    name: str
    kind: Kind


def list_directory(path: Path) -> Listing:
    """Lists a directory.

    Raises:
        CheckpointNotFoundError: It is not there.
        UnreadableFileError: The system refuses.
    """
    files: set[str] = set()
    directories: set[str] = set()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                (directories if entry.is_dir() else files).add(entry.name)
    except OSError as error:
        raise unreadable(str(path), error) from error
    return Listing(frozenset(files), frozenset(directories))


def find_step_number(name: str) -> int | None:
    """Reads the number of a step from the name of its directory; None if it has none.

    Example:
        >>> find_step_number("step_00000100"), find_step_number("7"), find_step_number("params")
        (100, 7, None)
    """
    found = _STEP_NAME.fullmatch(name)
    return int(found[1]) if found else None


def judge_item(path: Path, listing: Listing) -> Kind:
    """Says what a directory is, taken as an item."""
    processes = any(name.startswith(PROCESS) for name in listing.directories)
    if TREE in listing.files:
        # Each process writes a database of its own; the last act of a save joins them.
        return "unfinished" if processes and DATABASE not in listing.files else "tree"
    if _AGGREGATE in listing.files:
        return "aggregate"
    if processes or not _REMAINS.isdisjoint(listing.files | listing.directories) or _holds_arrays(path, listing):
        return "unfinished"
    if not listing.directories and any(name in listing.files for name in _JSON):
        return "json"
    return "other" if listing.files or listing.directories else "empty"


def _holds_arrays(path: Path, listing: Listing) -> bool:
    """Whether some directories in it are zarr arrays; a look at a few tells."""
    return any((path / name / file).exists() for name in sorted(listing.directories)[:4] for file in _ARRAYS)


def list_items(step: Path, listing: Listing) -> tuple[Part, ...]:
    """Lists the items of a step, in the order of their names.

    Raises:
        UnreadableFileError: The system refuses.
    """
    names = (name for name in sorted(listing.directories) if not name.startswith("."))
    return tuple(Part(name, _judge_part(step / name)) for name in names)


def _judge_part(path: Path) -> Kind:
    return "unfinished" if TEMPORARY in path.name else judge_item(path, list_directory(path))


def is_step(path: Path, listing: Listing) -> bool:
    """Whether a directory is a step: it says so itself, or holds an item whose name is no step's.

    Raises:
        UnreadableFileError: The system refuses.
    """
    if STEP in listing.files or MARKER in listing.files:
        return True
    names = (name for name in listing.directories if find_step_number(name) is None and TEMPORARY not in name)
    return any(_is_item_of_step(path / name) for name in names)


def _is_item_of_step(path: Path) -> bool:
    """Whether a directory is an item, and no checkpoint of its own."""
    listing = list_directory(path)
    return STEP not in listing.files and judge_item(path, listing) in ("tree", "unfinished", "aggregate")


def find_level(path: Path, listing: Listing) -> Level:
    """Says what a directory of a checkpoint is: an item, a step or another directory with items, or one with steps.

    Raises:
        UnreadableFileError: The system refuses.
    """
    kind = judge_item(path, listing)
    if kind in ("tree", "unfinished"):
        return "item"
    if is_step(path, listing):
        return "step"
    return "root" if kind == "other" else "item"


def is_hollow(path: Path, listing: Listing) -> bool:
    """Whether a directory holds nothing, or only directories that hold nothing.

    Raises:
        UnreadableFileError: The system refuses.
    """
    return not listing.files and not any(any(list_directory(path / name)) for name in listing.directories)


def is_finished(step: Path) -> bool:
    """Whether a step is whole, as far as its directories show.

    On a local disk Orbax publishes a step by renaming it, and then asks for no other mark;
    what it finds wanting here is what a copy that was cut short leaves behind.

    Raises:
        UnreadableFileError: The system refuses.
    """
    if not is_committed(step):
        return False
    listing = list_directory(step)
    kind = judge_item(step, listing)
    if kind in ("tree", "aggregate"):
        return True
    kinds = {item.kind for item in list_items(step, listing)}
    return "unfinished" not in kinds and not kinds <= {"empty"}


def is_committed(path: Path) -> bool:
    """Whether a save got as far as its commit, as far as a step, or an item that stands alone, says.

    In buckets Orbax saves in place, and marks what is whole by a file. Others have no such
    file either, so that it takes more to tell: when the save began, and not when it ended.

    Raises:
        UnreadableFileError: The system refuses.
    """
    raw = None if (path / COMMITTED).exists() else read_text_file(path / STEP, STEP)
    try:
        document = {} if raw is None else json.loads(raw)
    except (ValueError, RecursionError):
        return True  # Whoever reads more of it says what is wrong with it.
    began, ended = (
        document.get(f"{act}_timestamp_nsecs") if isinstance(document, dict) else None for act in ("init", "commit")
    )
    return began is None or ended is not None
