"""Location: which item of an Orbax checkpoint a path and a selection mean."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.orbax.directories import (
    DATABASE,
    MARKER,
    STEP,
    TEMPORARY,
    TREE,
    Level,
    Listing,
    Part,
    find_level,
    find_step_number,
    is_committed,
    is_hollow,
    judge_item,
    list_directory,
    list_items,
)
from tiecli.checkpoints.orbax.parts import check_item, choose_item, choose_step
from tiecli.checkpoints.protocol import Selection
from tiecli.errors import CheckpointError, PartNotFoundError, UnfinishedCheckpointError

_ROOT_METADATA = Path("metadata", "_ROOT_METADATA")
_SAFETENSORS = (".safetensors", ".safetensors.index.json")

# Names of leaves may hold slashes, each a directory where chunks are files.
_CLIMB = 8
_LOOKS = 32


# A named tuple, since every start waits for its making.
class Location(NamedTuple):
    """Where an item is.

    Attributes:
        root: What was given, as the user spelled it; for a file, the directory it led to.
        level: What `root` is: an item, a step (or another directory with items), or the
            directory of a CheckpointManager, with steps.
        item: The directory that holds `_METADATA`.
        item_name: Its name within the step; empty if it stands alone, or is itself the step.
        step: The directory that the item belongs to, if any; it may be the item itself.
        step_number: Which step that is, if it is one.
        notices: One line each, for the person at the terminal.
    """

    root: Path
    level: Level
    item: Path
    item_name: str
    step: Path | None
    step_number: int | None
    notices: tuple[str, ...] = ()


def is_orbax(path: Path) -> bool:
    """Whether a path looks like an Orbax checkpoint or a part of one, finished or not; only names are looked at.

    Never true for safetensors files, nor for directories of them.
    """
    try:
        if path.is_file():
            return not path.name.endswith(_SAFETENSORS) and _climb(path) is not None
        if not path.is_dir():
            return _unfinished_of(path) is not None
        listing = list_directory(path)
        if is_temporary(path) or not listing.files.isdisjoint((TREE, STEP, MARKER, DATABASE)):
            return True
        if any(name.endswith(_SAFETENSORS) for name in listing.files):
            return False
        return _looks_like_part(path, listing) or _looks_like_root(path, listing)
    except (CheckpointError, OSError, ValueError):
        return False


def _looks_like_part(path: Path, listing: Listing) -> bool:
    """Whether a directory without marks of its own is a part of a checkpoint, or a step without them."""
    if judge_item(path, listing) == "unfinished" or _holding_step(path) is not None or _holds_item(path, listing):
        return True
    siblings = _plain(path).parent
    return find_step_number(_plain(path).name) is not None and _looks_like_root(siblings, list_directory(siblings))


def _looks_like_root(path: Path, listing: Listing) -> bool:
    if any(TEMPORARY in name for name in listing.directories) or (path / _ROOT_METADATA).exists():
        return True
    names = [name for name in sorted(listing.directories) if find_step_number(name) is not None][:_LOOKS]
    steps = {path / name: list_directory(path / name) for name in names}
    if any(STEP in found.files or TREE in found.files or _holds_item(step, found) for step, found in steps.items()):
        return True
    # Nothing but steps without content is what a copy leaves that failed at once.
    if listing.files or not names or len(names) < len(listing.directories):
        return False
    return all(is_hollow(step, found) for step, found in steps.items())


def _holds_item(path: Path, listing: Listing) -> bool:
    inside = (path / name for name in sorted(listing.directories)[:_LOOKS])
    return any(judge_item(child, list_directory(child)) in ("tree", "unfinished") for child in inside)


def find_whole(file: Path) -> Path | None:
    """Finds the step, or else the item that stands alone, that a file lies in; None if it lies in neither."""
    part = _climb(file)
    return None if part is None else _holding_step(part) or part


def locate(path: Path, selection: Selection) -> Location:
    """Finds the item that is meant.

    An item is itself; a step stands for its only tree of arrays, a root for its latest
    finished step. A file leads to the item or step that it belongs to.

    Raises:
        CheckpointNotFoundError: There is no checkpoint.
        PartNotFoundError: There is no such step or item, or several and none was named.
        UnfinishedCheckpointError: Its save, or its copy, never ended.
        UnsupportedCheckpointError: It is an item, or of a form, that has no leaves to read.
        UnreadableFileError: The system refuses.
    """
    location = _find_item(path, selection)
    whole = location.step or location.item
    if not is_committed(whole):
        raise UnfinishedCheckpointError(
            f"`{whole}` was never committed: `{STEP}` says when its save began, and not when it ended",
            "Wait for it if it is still running; otherwise give an earlier checkpoint.",
        )
    return location


def _find_item(path: Path, selection: Selection) -> Location:
    if path.is_file():
        path = _climb(path) or path.parent
    _refuse_temporary(path)
    listing = list_directory(path)
    level = find_level(path, listing)
    if level == "item":
        return _locate_item(path, listing, selection)
    if level == "step":
        return _locate_in_step(path, listing, selection)
    chosen = choose_step(path, listing, selection.step)
    listing = list_directory(chosen.path)
    location = Location(path, "root", chosen.path, "", chosen.path, chosen.number, chosen.notices)
    kind = judge_item(chosen.path, listing)
    if kind in ("tree", "aggregate", "unfinished"):
        check_item(chosen.path, Part("", kind))
        if selection.item is not None:
            raise PartNotFoundError(f"`{chosen.path}` is itself an item, and has none", "Leave out --item.")
        return location
    name = choose_item(chosen.path, listing, selection.item)
    return location._replace(item=chosen.path / name, item_name=name)


def _locate_item(path: Path, listing: Listing, selection: Selection) -> Location:
    step = _holding_step(path) if STEP not in listing.files else None
    others = () if step is None else list_items(step, list_directory(step))
    check_item(path, Part(_plain(path).name, judge_item(path, listing)), others)
    name = "" if step is None else _plain(path).name
    number = None if step is None else number_of(step)
    if selection.item not in (None, name) or selection.step not in (None, number):
        raise PartNotFoundError(f"`{path}` is one item already", "Leave out --step and --item.")
    return Location(path, "item", path, name, step, number)


def _locate_in_step(path: Path, listing: Listing, selection: Selection) -> Location:
    number = number_of(path)
    if selection.step not in (None, number):
        what = "is no step of many" if number is None else f"is step {number}"
        raise PartNotFoundError(f"`{path}` {what}, so it has no step {selection.step}", "Leave out --step.")
    name = choose_item(path, listing, selection.item)
    return Location(path, "step", path / name, name, path, number)


def number_of(step: Path) -> int | None:
    """Reads which step a directory is; what the new API's `save` marks may be called anything and is none."""
    return None if (step / MARKER).exists() else find_step_number(_plain(step).name)


def _holding_step(item: Path) -> Path | None:
    """Finds the step that holds an item."""
    parent = _plain(item).parent
    marked = (parent / STEP).exists() or (parent / MARKER).exists()
    numbered = find_step_number(parent.name) is not None and (item / TREE).exists()
    return parent if marked or numbered else None


def _climb(file: Path) -> Path | None:
    """Finds the item, or else the step, that a file lies in; None if it lies in neither."""
    if file.name in (STEP, MARKER, TREE):
        return file.parent
    parents = list(_plain(file).parents)[:_CLIMB]
    found = next((parent for parent in parents if (parent / TREE).exists()), None)
    if found is None and ((file.parent / STEP).exists() or (file.parent.parent / STEP).exists()):
        return file.parent
    return found


def _plain(path: Path) -> Path:
    """Gives a path that ends in its own name, unlike `.` and `..`."""
    return path.resolve() if path.name in ("", "..") else path


def is_temporary(path: Path) -> bool:
    """Whether a path lies in, or is, the directory of a save that never ended."""
    return any(TEMPORARY in part for part in _plain(path).parts[-3:])


def _unfinished_of(path: Path) -> Path | None:
    """Finds the temporary directory of a save that would have become this path."""
    temporary = path.parent / (path.name + TEMPORARY)
    return temporary if path.name and temporary.is_dir() else None


def _refuse_temporary(path: Path) -> None:
    temporary = None if path.exists() else _unfinished_of(path)
    if temporary is not None or is_temporary(path):
        raise UnfinishedCheckpointError(
            f"`{temporary or path}` is a save that never ended",
            "Wait for it if it is still running; otherwise give an earlier checkpoint.",
        )
