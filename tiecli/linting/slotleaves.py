"""Slot leaves: the leaves among which slots are looked for, those of an optimizer's file included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiecli.checkpoints.survey.files import FileSurvey, survey_file
from tiecli.errors import CheckpointError
from tiecli.slots import HINTS, Keys, Leaf, SlotReport, find_slots

if TYPE_CHECKING:
    from tiecli.checkpoints.survey.orbax import ItemSurvey
    from tiecli.linting.subject import Subject

_FILE = "optimizer"
_NONE = SlotReport({}, ())


def survey_slots(subject: Subject) -> SlotReport:
    """Finds the slots of a checkpoint, by its headers and metadata alone."""
    if subject.unit.format == "orbax":
        return _survey_items(subject)
    beside = [name for name in subject.safetensors.listing if _is_of_optimizer(name)]
    forms = subject.naming.forms.decode("utf-8", "surrogatepass")
    if not beside and not any(hint in forms for hint in HINTS):
        return _NONE
    leaves = [leaf for file in subject.files for leaf in _list_leaves(file)]
    surveyed = {file.name for file in subject.files}
    for name in sorted(beside):
        if name not in surveyed:
            try:
                leaves += _list_leaves(survey_file(subject.unit.directory / name, name))
            except CheckpointError:
                continue
    return find_slots(leaves)


def _is_of_optimizer(name: str) -> bool:
    return name.startswith(_FILE) and name.endswith(".safetensors")


def _list_leaves(file: FileSurvey) -> Iterator[Leaf]:
    """Yields the leaves of a file; all that an optimizer's file holds stands below a key of its own."""
    root: Keys = (_FILE,) if _is_of_optimizer(file.name) else ()
    return (Leaf(name, file.name, (*root, *name.split(".")), spec) for name, spec in file.specs.items())


def _survey_items(subject: Subject) -> SlotReport:
    """Finds the slots of the items of one step."""
    read = [item for item in subject.orbax.leading if item.tree is not None and item.store is not None]
    several = len(read) > 1
    leaves: list[Leaf] = []
    empty: list[Keys] = []
    for item in read:
        above: Keys = (item.name,) if several else ()
        leaves += _list_item(item, above)
        if item.tree is not None and item.tree.tree is not None:
            empty += [above + node.path.keys for node in item.tree.tree.nodes if not node.is_array]
    return find_slots(leaves, empty, items=several)


def _list_item(item: ItemSurvey, above: Keys) -> Iterator[Leaf]:
    """Yields the arrays of an item, those whose chunks are missing included."""
    tree = item.tree.tree if item.tree is not None else None
    held = item.store.leaves if item.store is not None else {}
    for node in tree.nodes if tree is not None else ():
        stored = held.get(node.name) if node.is_array else None
        if stored is not None and stored.metadata is not None:
            yield Leaf(node.path.spelling, item.place, above + node.path.keys, stored.metadata.spec)
