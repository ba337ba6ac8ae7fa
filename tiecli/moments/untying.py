"""Untying: what an optimizer is to keep for a leaf that is stored again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.moments.planning import tie_factor, tie_gathered
from tiecli.moments.rules import CarriedSlot
from tiecli.slots import Keys, Leaf, SlotTree, find_slots
from tiecli.ties import Tie, TieSet


def find_slots_of(
    reader: CheckpointReader, aliases: Collection[KeyPath], recorded: Mapping[KeyPath, LeafSpec]
) -> frozenset[KeyPath]:
    """Finds the aliases of a manifest that are what an optimizer kept for some other of its aliases.

    Args:
        reader: The checkpoint.
        aliases: Those whose slots are asked for.
        recorded: All aliases of the manifest, with what they were.
    """
    wanted = {path.keys for path in aliases}
    found: set[KeyPath] = set()
    for tree in _find_trees(reader, recorded):
        found.update(KeyPath(leaf.keys) for keys, leaf in tree.held.items() if keys in wanted)
    return frozenset(found & recorded.keys())


def copy_slots(
    reader: CheckpointReader, restored: TieSet, recorded: Mapping[KeyPath, LeafSpec]
) -> tuple[CarriedSlot, ...]:
    """Gives leaves that are stored again the state of those that they followed from.

    As long as the two get the same gradients, training goes on as it did; `tie` then finds replicas.

    Args:
        reader: The checkpoint.
        restored: The ties that end.
        recorded: All aliases of the manifest, with what they were; the slots among them come back by themselves.

    Returns:
        The slots that nothing is recorded of.
    """
    specs = {**recorded, **{tie.alias: tie.transform.spec([reader.specs()[path] for path in tie.canonicals])
                            for tie in restored if all(path in reader.specs() for path in tie.canonicals)}}  # fmt: skip
    trees = _find_trees(reader, specs)
    return tuple(slot for tie in restored for tree in trees for slot in _copy_slot(trees, tree, tie))


def _find_trees(reader: CheckpointReader, aliases: Mapping[KeyPath, LeafSpec]) -> tuple[SlotTree, ...]:
    leaves = {**aliases, **reader.specs()}
    empty = [path.keys for path, _ in reader.other_nodes]
    return find_slots([Leaf(path.spelling, "", path.keys, spec) for path, spec in leaves.items()], empty).trees


def _copy_slot(trees: tuple[SlotTree, ...], tree: SlotTree, tie: Tie) -> Iterator[CarriedSlot]:
    sources = [tree.held.get(path.keys) for path in tie.canonicals]
    if tie.alias.keys in tree.held or None in sources:
        return
    own = tuple(source for source in sources if source is not None)
    target = _place(tree, own[0].keys, tie)
    if target is None:
        return
    if tree.kind == "factor":
        own = (tie_factor(trees, tree, tie, own[0]), *own[1:])
    transform = tie_gathered(tree, tie.transform, own[0].spec, own[0].spec.dtype)
    slot = Tie(KeyPath(target), tuple(KeyPath(source.keys) for source in own), transform)
    rule = "copied from the leaf it followed from"
    yield CarriedSlot(tree.name, tree.kind, slot, "replicas", rule, exact=True)


def _place(tree: SlotTree, held: Keys, tie: Tie) -> Keys | None:
    """Finds where the slot of an alias stands: where that of its canonical leaf does, under the other name."""
    rest = tie.canonicals[0].keys[len(tree.root) :]
    end = len(held) if tree.is_first else len(held) - 1
    if tie.alias.keys[: len(tree.root)] != tree.root or held[end - len(rest) : end] != rest:
        return None
    return held[: end - len(rest)] + tie.alias.keys[len(tree.root) :] + held[end:]
