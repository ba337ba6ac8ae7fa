"""Slots: which leaves an optimizer keeps for which parameters, told by path, shape and name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.slots.names import SLOTS, Keys, Kind, find_root, read_paths

# How many paths of a tree of slots are tried to see where its parameters are, and at how many places.
_TRIED = 32
_PLACES = 8
_DEEPEST = 6
_LONGEST = 32
# Beyond this many parameters, which no model has, nothing is looked for: a header made to exhaust memory holds more.
_MOST = 250_000
_PLACEHOLDERS = ((), (1,))


class Leaf(NamedTuple):
    """A leaf, wherever it is stored.

    Attributes:
        name: What people see.
        file: Where it is stored: a safetensors file, or the directory of an Orbax item.
        keys: Its path; below the name of its item, where a step has several.
        spec: Its shape and dtype.
    """

    name: str
    file: str
    keys: Keys
    spec: LeafSpec


class SlotTree(NamedTuple):
    """The slots of one name that belong together: `mu` of one Adam state.

    Attributes:
        name: The name.
        kind: How such a slot follows from the gradients.
        above: Where in the state it stands; trees of one place belong to one optimizer.
        is_first: Whether the name comes before the paths of the parameters.
        root: What the parameters' paths begin with, in place of the first keys of the slots'.
        dropped: How many of those keys.
        held: The slots, by parameter.
        orphans: Slots of parameters that are nowhere, by the paths that those would have.
    """

    name: str
    kind: Kind
    above: Keys
    is_first: bool
    root: Keys
    dropped: int
    held: Mapping[Keys, Leaf]
    orphans: Mapping[Keys, Leaf]

    def has_odd_shape(self, parameter: Keys, spec: LeafSpec) -> bool:
        """Whether the slot of a parameter should have its shape and has another."""
        shape = self.held[parameter].spec.shape
        return self.kind != "factor" and shape not in _PLACEHOLDERS and shape != spec.shape


class SlotReport(NamedTuple):
    """What optimizers keep in a checkpoint.

    Attributes:
        parameters: All leaves that are no state of an optimizer, by path.
        trees: The trees of slots that could be matched with parameters.
        empty: Places that hold nothing, such as those of parameters that a mask leaves out.
        items: Whether every path begins with the name of an item.
    """

    parameters: Mapping[Keys, Leaf]
    trees: tuple[SlotTree, ...]
    empty: frozenset[Keys] = frozenset()
    items: bool = False

    def spell(self, keys: Keys) -> str:
        """Spells the path of a parameter, stored or not, as people see it."""
        return KeyPath(keys[1:] if self.items and len(keys) > 1 else keys).spelling


def find_slots(leaves: Sequence[Leaf], empty: Iterable[Keys] = (), *, items: bool = False) -> SlotReport:
    """Finds the slots among the leaves of a checkpoint.

    A tree of slots is one if a third of its paths or more end those of parameters, and most of
    its shapes are theirs; names alone make none.

    Args:
        leaves: All leaves.
        empty: Places of the tree that hold nothing.
        items: Whether every path begins with the name of an item.
    """
    readings = read_paths(leaf.keys for leaf in leaves)
    parameters = {leaf.keys: leaf for leaf in leaves if leaf.keys not in readings and find_root(leaf.keys) is None}
    groups: dict[tuple[bool, Keys, str], dict[Keys, Leaf]] = {}
    for leaf in leaves:
        reading = readings.get(leaf.keys)
        if reading is not None:
            groups.setdefault((reading.is_first, reading.above, reading.slot), {})[reading.path] = leaf
    endings = _Endings(parameters)
    sensible = 0 < len(parameters) <= _MOST
    trees = (_match(key, slots, endings) for key, slots in groups.items()) if sensible else ()
    return SlotReport(parameters, tuple(tree for tree in trees if tree is not None), frozenset(empty), items)


class _Endings:
    """Parameters by the ends of their paths."""

    def __init__(self, parameters: Mapping[Keys, Leaf]) -> None:
        self.parameters = parameters
        self._known: dict[int, dict[Keys, list[Keys]]] = {}

    def list_roots(self, ending: Keys) -> list[Keys]:
        """Lists what may stand before the end of a path, a few of many."""
        length = len(ending)
        if length > _LONGEST:
            return []
        if length not in self._known:
            known = self._known[length] = {}
            for keys in self.parameters:
                if len(keys) >= length:
                    roots = known.setdefault(keys[len(keys) - length :], [])
                    if len(roots) < _PLACES:
                        roots.append(keys[: len(keys) - length])
        return self._known[length].get(ending, [])


def _match(key: tuple[bool, Keys, str], slots: Mapping[Keys, Leaf], endings: _Endings) -> SlotTree | None:
    """Matches slots of one name with parameters; None if they are none."""
    is_first, above, name = key
    place = _find_place(list(slots), endings)
    if place is None:
        return None
    dropped, root = place
    rests = {path[dropped:]: leaf for path, leaf in slots.items()}
    held = {root + rest: leaf for rest, leaf in rests.items() if root + rest in endings.parameters}
    known = [rest for rest in islice(rests, _TRIED) if root + rest in held]
    orphans: dict[Keys, Leaf] = {}
    for rest, leaf in rests.items():
        if root + rest not in held:
            other = _find_elsewhere(rest, leaf, known, endings)
            (orphans if other is None else held)[other or root + rest] = leaf
    tree = SlotTree(name, SLOTS[name], above, is_first, root, dropped, held, orphans)
    return tree if 3 * len(held) >= len(slots) and _fits(tree, endings.parameters) else None


def _find_elsewhere(rest: Keys, leaf: Leaf, known: Sequence[Keys], endings: _Endings) -> Keys | None:
    """Finds the parameter of a slot in another part of the model, which holds none of the others: else it is a copy."""
    if len(rest) < 2:
        return None
    for root in endings.list_roots(rest):
        same = endings.parameters[root + rest].spec.shape == leaf.spec.shape
        if same and not any(root + other in endings.parameters for other in known):
            return root + rest
    return None


def _fits(tree: SlotTree, parameters: Mapping[Keys, Leaf]) -> bool:
    """Whether most slots have the shapes of their parameters, as far as they should."""
    odd = sum(tree.has_odd_shape(keys, parameters[keys].spec) for keys in tree.held)
    return 2 * odd <= len(tree.held)


def _find_place(paths: Sequence[Keys], endings: _Endings) -> tuple[int, Keys] | None:
    """Finds how many keys of the paths to leave out, and what to put in their place, to get those of parameters."""
    tried = paths[:: max(1, len(paths) // _TRIED)][:_TRIED]
    deepest = min(_DEEPEST, _count_common(paths), min(map(len, paths)) - 1)
    candidates: dict[tuple[int, Keys], None] = {}
    for dropped in range(deepest + 1):
        for path in islice(tried, _PLACES):
            candidates.update(dict.fromkeys((dropped, root) for root in endings.list_roots(path[dropped:])))
    counts = {
        (dropped, root): sum(root + path[dropped:] in endings.parameters for path in tried)
        for dropped, root in candidates
    }
    # A copy of the parameters, such as their average, may have a leaf that they themselves have no more.
    most = max(counts.values(), default=0)
    return min((place for place, count in counts.items() if 2 * count > most), key=_rank, default=None)


def _rank(candidate: tuple[int, Keys]) -> tuple[int, bool, int]:
    """Ranks places that fit: the fewest keys left out, the parameters rather than a copy of them."""
    dropped, root = candidate
    return dropped, "params" not in root and bool(root), len(root)


def _count_common(paths: Sequence[Keys]) -> int:
    """Counts the keys that all paths begin with."""
    common = paths[0]
    for path in paths:
        if path[: len(common)] != common:
            common = common[: next(at for at, key in enumerate(common) if path[at : at + 1] != (key,))]
    return len(common)


def is_nearly_all(count: int, total: int) -> bool:
    """Whether some are so many that the others are missing rather than left out on purpose."""
    return count < total and (count * 10 >= total * 9 or (total - count == 1 and total > 2))


def is_left_empty(place: Keys, empty: Collection[Keys]) -> bool:
    """Whether a place, or one above it, is there and holds nothing."""
    return any(place[:length] in empty for length in range(1, len(place) + 1))
