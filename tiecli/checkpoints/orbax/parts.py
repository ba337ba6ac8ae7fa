"""Parts: choosing a step of a CheckpointManager's directory and an item of a step, or saying why that cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.orbax.directories import (
    COMMITTED,
    DATABASE,
    DELETION,
    MARKER,
    STEP,
    TEMPORARY,
    TREE,
    Listing,
    Part,
    find_step_number,
    is_finished,
    list_items,
)
from tiecli.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    PartNotFoundError,
    TiecliError,
    UnfinishedCheckpointError,
    UnsupportedCheckpointError,
)

_AGAIN = "Copy the checkpoint again from where it is whole, or save it again."
_SHOWN = 8


class ChosenStep(NamedTuple):
    """A step of a root: its directory, its number, and what the person should know."""

    path: Path
    number: int
    notices: tuple[str, ...]


def choose_step(root: Path, listing: Listing, wanted: int | None) -> ChosenStep:
    """Chooses a step: the one that is wanted, or the latest finished one.

    Raises:
        CheckpointNotFoundError: There is no step at all, or one twice.
        PartNotFoundError: There is no such step.
        UnfinishedCheckpointError: Nothing here was ever finished.
        UnreadableFileError: The system refuses.
    """
    steps: dict[int, list[str]] = {}
    for name in sorted(listing.directories):
        found = find_step_number(name)
        if found is not None:
            steps.setdefault(found, []).append(name)
    temporary = sorted(name for name in listing.directories if TEMPORARY in name)
    if not steps:
        raise _no_steps(root, listing, temporary)
    notices: tuple[str, ...] = ()
    if wanted is None:
        wanted, notices = _find_latest(root, steps)
    if wanted not in steps:
        raise _no_such_step(root, wanted, steps, temporary)
    if len(steps[wanted]) > 1:
        raise CheckpointNotFoundError(
            f"`{root}` holds step {wanted} more than once: {_list(steps[wanted])}",
            f"Name one: `{root / steps[wanted][0]}`.",
        )
    return ChosenStep(root / steps[wanted][0], wanted, notices)


def _find_latest(root: Path, steps: Mapping[int, Sequence[str]]) -> tuple[int, tuple[str, ...]]:
    """Finds the latest finished step; tells which later ones are not."""
    numbers = sorted(steps, reverse=True)
    for position, number in enumerate(numbers):
        if all(is_finished(root / name) for name in steps[number]):
            passed = ", ".join(map(str, numbers[:position]))
            return number, ((f"unfinished and passed over: step {passed}",) if passed else ())
    names = _list([name for number in sorted(steps) for name in steps[number]])
    raise UnfinishedCheckpointError(f"`{root}` holds no finished step, only {names}", _AGAIN)


def _no_steps(root: Path, listing: Listing, temporary: Sequence[str]) -> CheckpointError:
    if temporary:
        return UnfinishedCheckpointError(
            f"`{root}` holds only saves that never ended: {_list(temporary)}",
            "Wait for the save that is running, or give an earlier checkpoint.",
        )
    whole = [name for name in sorted(listing.directories) if (root / name / TREE).exists()]
    if whole:
        return CheckpointNotFoundError(
            f"`{root}` is no checkpoint, but holds {_list(whole)}", f"Name one: `{root / whole[0]}`."
        )
    names = sorted(listing.files | listing.directories)
    found = f"only {_list(names)}" if names else "it is empty"
    return CheckpointNotFoundError(
        f"`{root}` holds no step and no item of an Orbax checkpoint; {found}",
        "Give the directory that holds `_METADATA`, its step, or the directory of all steps.",
    )


def _no_such_step(root: Path, wanted: int, steps: Iterable[int], temporary: Sequence[str]) -> TiecliError:
    numbers = sorted(steps)
    for name in temporary:
        if find_step_number(name.partition(TEMPORARY)[0]) == wanted:
            return UnfinishedCheckpointError(
                f"the save of step {wanted} never ended: `{root / name}`",
                f"Wait for it if it is still running; until then there is --step {numbers[-1]}.",
            )
    shown = "…, " * (len(numbers) > _SHOWN) + ", ".join(map(str, numbers[-_SHOWN:]))
    return PartNotFoundError(f"`{root}` has no step {wanted}, but {shown}", f"Give --step {numbers[-1]}.")


def choose_item(step: Path, listing: Listing, wanted: str | None) -> str:
    """Chooses an item: the one that is wanted, or the only tree.

    Raises:
        PartNotFoundError: There is no such item, or several and none was named.
        UnfinishedCheckpointError: What makes the item readable is missing.
        UnsupportedCheckpointError: It is no tree of arrays.
        UnreadableFileError: The system refuses.
    """
    if DELETION in listing.files:
        raise UnfinishedCheckpointError(
            f"the deletion of an item of `{step}` never ended",
            "Finish it with `orbax.checkpoint.experimental.v1.delete`.",
        )
    items = list_items(step, listing)
    named = [item for item in items if item.name == wanted]
    if wanted is not None and not named:
        raise PartNotFoundError(f"`{step}` has no item `{wanted}`, but {_describe(items)}", *_suggest(step, items))
    found = named or [item for item in items if item.kind in ("tree", "aggregate", "unfinished")]
    if len(found) > 1:
        raise PartNotFoundError(f"`{step}` has several items: {_describe(items)}", *_suggest(step, items))
    if not found:
        raise _no_tree(step, items, sorted(listing.files - {STEP, COMMITTED, MARKER}))
    check_item(step / found[0].name, found[0], items)
    return found[0].name


def check_item(path: Path, item: Part, others: Sequence[Part] = ()) -> None:
    """Refuses an item that is no readable tree.

    Args:
        path: Where it is.
        item: What it is.
        others: The items of its step, to suggest one of them.

    Raises:
        UnfinishedCheckpointError: What makes it readable is missing.
        UnsupportedCheckpointError: It is no tree of arrays.
    """
    match item.kind:
        case "tree":
            return
        case "aggregate":
            raise UnsupportedCheckpointError(
                f"`{path}` is an aggregate checkpoint of early Orbax and Flax: all its leaves are in one msgpack file",
                "Restore it and save it again with a current Orbax.",
            )
        case "unfinished" if TEMPORARY in item.name:
            raise UnfinishedCheckpointError(
                f"`{path}` is a save that never ended",
                "Wait for it if it is still running; otherwise give an earlier checkpoint.",
            )
        case "unfinished":
            lacks = DATABASE if (path / TREE).exists() else TREE
            raise UnfinishedCheckpointError(f"`{path}` is unfinished: it holds arrays, but no `{lacks}`", _AGAIN)
        case "empty":
            raise UnfinishedCheckpointError(f"`{path}` is empty: its save, or its copy, never ended", _AGAIN)
    what = "a JSON item" if item.kind == "json" else "no tree"
    raise UnsupportedCheckpointError(f"`{path}` is {what}, which holds no leaves", *_suggest(path.parent, others))


def _no_tree(step: Path, items: Sequence[Part], files: Sequence[str]) -> CheckpointError:
    if files and not items:
        return UnsupportedCheckpointError(
            f"`{step}` holds no leaves, only {_list(files)}", "Give a checkpoint that holds a tree of arrays."
        )
    if all(item.kind == "empty" for item in items):
        what = f"holds only empty items: {_describe(items)}" if items else "holds no item"
        return UnfinishedCheckpointError(f"`{step}` {what}; its save, or its copy, never ended", _AGAIN)
    return UnsupportedCheckpointError(
        f"`{step}` holds no tree of arrays, only {_describe(items)}", "Give a checkpoint that holds one."
    )


def _describe(items: Sequence[Part]) -> str:
    """Lists items by what they are: `params`, `opt_state` (trees), `cfg` (JSON)."""
    words = {
        "tree": ("a tree", "trees"),
        "json": ("JSON", "JSON"),
        "aggregate": ("an aggregate", "aggregates"),
        "unfinished": ("unfinished", "unfinished"),
        "empty": ("empty", "empty"),
        "other": ("no tree", "no trees"),
    }
    parts = []
    for kind, (one, many) in words.items():
        names = [item.name for item in items if item.kind == kind]
        if names:
            parts.append(f"{_list(names)} ({one if len(names) == 1 else many})")
    return ", ".join(parts) or "nothing"


def _suggest(step: Path, items: Sequence[Part]) -> tuple[str, ...]:
    trees = [item.name for item in items if item.kind == "tree"]
    if not trees:
        return ()
    return (
        f"Give --item {' or --item '.join(trees[:3])}.",
        f"Or give its path, as any command takes it: `{step / trees[0]}`.",
    )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
