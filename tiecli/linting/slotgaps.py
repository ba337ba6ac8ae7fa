"""Slot gaps: parameters without slots that others like them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tiecli.slots import Keys, SlotReport, SlotTree, is_left_empty, is_nearly_all


class Gap(NamedTuple):
    """A parameter that lacks slots.

    Attributes:
        parameter: Which.
        slots: The names of those it lacks.
        having: How many parameters like it have them.
        total: Of how many.
        has_others: Whether it has other slots of the same optimizer.
    """

    parameter: Keys
    slots: tuple[str, ...]
    having: int
    total: int
    has_others: bool


def list_gaps(report: SlotReport) -> tuple[Gap, ...]:
    """Lists the parameters that lack slots and were not left out on purpose, as far as that shows."""
    groups: dict[tuple[bool, Keys], list[SlotTree]] = {}
    for tree in report.trees:
        if tree.kind != "factor":
            groups.setdefault((tree.is_first, tree.above), []).append(tree)
    uneven = [gap for trees in groups.values() for gap in _find_uneven(report, trees)]
    return (*uneven, *_find_bare(report))


def _find_uneven(report: SlotReport, trees: Iterable[SlotTree]) -> Iterator[Gap]:
    """Yields parameters that have some slots of an optimizer and lack others, which nearly all have."""
    trees = list(trees)
    known = dict.fromkeys(keys for tree in trees for keys in tree.held)
    lacking: dict[Keys, list[SlotTree]] = {}
    for tree in trees:
        if is_nearly_all(len(tree.held), len(known)):
            for keys in known:
                if keys not in tree.held and not _is_masked(report, tree, keys):
                    lacking.setdefault(keys, []).append(tree)
    for keys, lost in lacking.items():
        yield Gap(keys, tuple(tree.name for tree in lost), len(lost[0].held), len(known), has_others=True)


def _find_bare(report: SlotReport) -> Iterator[Gap]:
    """Yields parameters without any slot, where the leaves around them and like them have theirs."""
    covered = {keys for tree in report.trees for keys in tree.held}
    if not covered:
        return
    modules, layers = {keys[:-1] for keys in covered}, {_find_layer(keys) for keys in covered} - {()}
    alike, held = _count_alike(report.parameters), _count_alike(covered)
    names = tuple(dict.fromkeys(tree.name for tree in report.trees))
    for keys, leaf in report.parameters.items():
        if keys in covered or leaf.spec.dtype.kind != "float":
            continue
        # Like it are the same leaf of other layers; of a module in no layer, leaves of the same name.
        form = _drop_numbers(keys) if _find_layer(keys) in layers else keys[-1:]
        if form == keys[-1:] and keys[:-1] not in modules:
            continue
        masked = any(_is_masked(report, tree, keys) for tree in report.trees)
        if is_nearly_all(held[form], alike[form]) and not masked:
            yield Gap(keys, names, held[form], alike[form], has_others=False)


def _count_alike(parameters: Iterable[Keys]) -> Counter[Keys]:
    """Counts parameters by their paths without numbers, and by their last keys."""
    counts: Counter[Keys] = Counter()
    for keys in parameters:
        counts.update({_drop_numbers(keys), keys[-1:]})
    return counts


def _is_masked(report: SlotReport, tree: SlotTree, parameter: Keys) -> bool:
    """Whether the place of a slot is there and holds nothing."""
    if not tree.is_first or not report.empty or parameter[: len(tree.root)] != tree.root:
        return False
    for slot in tree.held.values():
        start = slot.keys[: len(tree.above) + 1 + tree.dropped]
        return is_left_empty(start + parameter[len(tree.root) :], report.empty)
    return False


def _find_layer(keys: Keys) -> Keys:
    """Finds the layer that a leaf is in: its path down to the last number; empty if it is in none."""
    return next((keys[: at + 1] for at in range(len(keys) - 1, -1, -1) if _is_number(keys[at])), ())


def _drop_numbers(keys: Keys) -> Keys:
    return tuple("" if _is_number(key) else key for key in keys)


def _is_number(key: object) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and key.isdecimal())
