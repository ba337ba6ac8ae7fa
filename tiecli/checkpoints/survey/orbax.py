"""Orbax surveys: an item, step or CheckpointManager directory, finished or not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tiecli.checkpoints.orbax.directories import (
    COMMITTED,
    STEP,
    TEMPORARY,
    TREE,
    Kind,
    Level,
    Listing,
    find_level,
    find_step_number,
    is_committed,
    is_finished,
    is_hollow,
    judge_item,
    list_directory,
)
from tiecli.checkpoints.orbax.location import is_temporary, number_of
from tiecli.checkpoints.orbax.treemetadata import TreeMetadata, parse_tree
from tiecli.checkpoints.storedfile import read_text_file
from tiecli.checkpoints.survey.orbaxstores import StoreSurvey, find_form, survey_store
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import NameCollisionError, OrbaxMetadataError, UnsupportedCheckpointError


class TreeSurvey(NamedTuple):
    """What can be told of a `_METADATA`.

    Attributes:
        tree: The tree; None if it is damaged, or of a kind that tiecli does not read.
        problem: What is damaged, worded as a clause; empty if nothing is.
    """

    tree: TreeMetadata | None
    problem: str = ""


class ItemSurvey(NamedTuple):
    """What can be told of one item.

    Attributes:
        place: Its directory, relative to the checkpoint's root; `.` for the root itself.
        name: Its name within the step; empty if it stands alone, or is itself the step.
        kind: What it looks like.
        listing: The names in it.
        tree: Its `_METADATA`; None if there is none, or it was not looked into.
        store: Its arrays; None if there are none, or they were not looked into.
    """

    place: str
    name: str
    kind: Kind
    listing: Listing
    tree: TreeSurvey | None = None
    store: StoreSurvey | None = None

    def file(self, name: str) -> str:
        """Names a file of it, relative to the checkpoint's root."""
        return name if self.place == "." else f"{self.place}/{name}"


class StepSurvey(NamedTuple):
    """What can be told of one step.

    Attributes:
        place: Its directory, relative to the checkpoint's root; `.` for the root itself.
        number: Which step it is; None of a directory with items that is no step of many.
        prefix: What stands before the number in its name.
        marked: Whether it has a `commit_success.txt`.
        committed: Whether its own metadata say that its save came to an end, or do not say that it began.
        hollow: Whether nothing is in it, or only empty directories.
        items: Its items, those of unfinished saves left out; itself, where it is one.
        handlers: Which handler saved each item, where the step says so; only looked up for empty items.
    """

    place: str
    number: int | None
    prefix: str
    marked: bool
    committed: bool
    hollow: bool
    items: tuple[ItemSurvey, ...]
    handlers: Mapping[str, Any]


class OrbaxSurvey(NamedTuple):
    """What can be told of an Orbax checkpoint by its directories and metadata.

    Attributes:
        unit: Where it is.
        level: What it is; `temporary` where all of it is a save that never ended.
        steps: Its steps, the latest first; one at most unless it is a root.
        items: The items that were looked into: those of the latest step, and of the latest
            whole one if that is another; all of anything else than a root.
        leading: The items among them that readers of leaves read.
        temporary: Directories of saves that never ended, relative to the root.
        committed: Whether the metadata of an item that stands alone say that its save came to
            an end, or do not say that it began.
    """

    unit: Unit
    level: Level | Literal["temporary"]
    steps: tuple[StepSurvey, ...] = ()
    items: tuple[ItemSurvey, ...] = ()
    leading: tuple[ItemSurvey, ...] = ()
    temporary: tuple[str, ...] = ()
    committed: bool = True

    def list_items(self) -> tuple[ItemSurvey, ...]:
        """Lists all items, those of older steps included, whose contents were not looked into."""
        found = {item.place: item for step in self.steps for item in step.items}
        return (*(found | {item.place: item for item in self.items}).values(),)


def survey_orbax(unit: Unit) -> OrbaxSurvey:
    """Looks at the directories and metadata of an Orbax checkpoint; no array data is read.

    Raises:
        CheckpointNotFoundError: It is gone since the unit was found.
        UnreadableFileError: The system refuses.
    """
    root = unit.directory
    listing = list_directory(root)
    if is_temporary(root):
        return OrbaxSurvey(unit, "temporary", temporary=(".",))
    level = find_level(root, listing)
    if level == "item":
        item = _look_into(root, ItemSurvey(".", "", judge_item(root, listing), listing))
        return OrbaxSurvey(unit, level, items=(item,), leading=(item,), committed=is_committed(root))
    temporary: list[str] = []
    if level == "step":
        step = _survey_step(root, ".", listing, number_of(root), temporary)
        items = tuple(_look_into(root / item.place, item) for item in step.items)
        return OrbaxSurvey(unit, level, (step._replace(items=items),), items, items, tuple(temporary))
    return _survey_root(unit, listing, temporary)


def _survey_root(unit: Unit, listing: Listing, temporary: list[str]) -> OrbaxSurvey:
    root = unit.directory
    temporary += sorted(name for name in listing.directories if TEMPORARY in name)
    names = [name for name in sorted(listing.directories) if TEMPORARY not in name]
    numbers = {name: number for name in names if (number := find_step_number(name)) is not None}
    steps = [
        _survey_step(root / name, name, list_directory(root / name), number, temporary)
        for name, number in sorted(numbers.items(), key=itemgetter(1), reverse=True)
    ]
    chosen = _choose(root, steps)
    looked = {step.place: tuple(_look_into(root / item.place, item) for item in step.items) for step in chosen}
    steps = [step._replace(items=looked.get(step.place, step.items)) for step in steps]
    alone = _list_alone(root, (name for name in names if name not in numbers))
    items = (*(item for step in chosen for item in looked[step.place]), *alone)
    leading = looked[chosen[-1].place] if chosen else alone
    return OrbaxSurvey(unit, "root", tuple(steps), items, leading, tuple(temporary))


def _list_alone(root: Path, names: Iterable[str]) -> tuple[ItemSurvey, ...]:
    """Lists items that lie between steps without belonging to one."""
    found = []
    for name in names:
        listing = list_directory(root / name)
        kind = judge_item(root / name, listing)
        if kind in ("tree", "unfinished"):
            found.append(_look_into(root / name, ItemSurvey(name, name, kind, listing)))
    return tuple(found)


def _choose(root: Path, steps: Iterable[StepSurvey]) -> list[StepSurvey]:
    """Chooses the steps to look into: the latest with anything in it, and the latest whole one."""
    chosen: list[StepSurvey] = []
    for step in steps:
        if step.hollow:
            continue
        if is_finished(root / step.place):
            return [*chosen, step]
        chosen = chosen or [step]
    return chosen


def _survey_step(path: Path, place: str, listing: Listing, number: int | None, temporary: list[str]) -> StepSurvey:
    """Surveys a step; saves within it that never ended are added to `temporary`."""
    below = "" if place == "." else f"{place}/"
    items: list[ItemSurvey] = []
    if judge_item(path, listing) in ("tree", "unfinished", "aggregate"):
        items = [ItemSurvey(place, "", judge_item(path, listing), listing)]
    else:
        for name in sorted(name for name in listing.directories if not name.startswith(".")):
            if TEMPORARY in name:
                temporary.append(below + name)
            else:
                inner = list_directory(path / name)
                items.append(ItemSurvey(below + name, name, judge_item(path / name, inner), inner))
    return StepSurvey(
        place,
        number,
        place.rpartition("_")[0],
        COMMITTED in listing.files,
        is_committed(path),
        is_hollow(path, listing),
        tuple(items),
        _read_handlers(path) if any(item.kind == "empty" for item in items) else {},
    )


def _read_handlers(step: Path) -> Mapping[str, Any]:
    try:
        handlers = json.loads(read_text_file(step / STEP, STEP) or b"{}")["item_handlers"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return {}
    return handlers if isinstance(handlers, dict) else {}


def _look_into(path: Path, item: ItemSurvey) -> ItemSurvey:
    if item.kind not in ("tree", "unfinished"):
        return item
    tree = _survey_tree(path) if TREE in item.listing.files else None
    if tree is None or tree.tree is None or (form := find_form(item.listing, tree.tree)) is None:
        return item._replace(tree=tree)
    label = path.absolute().name if item.place == "." else item.place
    return item._replace(tree=tree, store=survey_store(path, form, tree.tree, label))


def _survey_tree(item: Path) -> TreeSurvey:
    raw = read_text_file(item / TREE, TREE)
    if raw is None:
        return TreeSurvey(None, f"`{TREE}` is gone")
    try:
        return TreeSurvey(parse_tree(raw, TREE))
    except (OrbaxMetadataError, NameCollisionError) as error:
        return TreeSurvey(None, error.message)
    except UnsupportedCheckpointError:
        return TreeSurvey(None)
