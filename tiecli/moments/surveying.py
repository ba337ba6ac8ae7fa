"""Surveying: what optimizers keep in a checkpoint, for the parameters in it or for those of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.slots import Keys, Leaf, SlotReport, SlotTree, find_root, find_slots, tells_of_state

# What stands above a checkpoint that is the state of an optimizer as a whole.
_ABOVE = "optimizer"


@dataclass(frozen=True, slots=True)
class StateSurvey:
    """The state of optimizers in one checkpoint.

    Attributes:
        report: Its slots, by parameter.
        is_apart: Whether the parameters are elsewhere, so that every other leaf is state.
        leaves: Every leaf of the checkpoint, and those that its manifest knows.
    """

    report: SlotReport
    is_apart: bool
    leaves: Mapping[KeyPath, LeafSpec]

    def is_state(self, keys: Keys) -> bool:
        """Whether a leaf stands where an optimizer keeps what it needs."""
        return find_root(keys) is not None or (self.is_apart and keys not in self.report.parameters)


def survey_state(
    reader: CheckpointReader,
    parameters: Mapping[KeyPath, LeafSpec] | None = None,
    recorded: Mapping[KeyPath, LeafSpec] | None = None,
) -> StateSurvey | None:
    """Finds what optimizers keep in a checkpoint.

    Args:
        reader: The checkpoint.
        parameters: The parameters, where another checkpoint has them; state of its own does not count.
        recorded: Leaves that are not stored and count all the same: the aliases of a manifest.

    Returns:
        None where nothing is kept, which most names show at once.
    """
    leaves = {**(recorded or {}), **reader.specs()}
    if parameters is None and not tells_of_state(path.keys for path in leaves):
        return None
    empty = [path.keys for path, _ in reader.other_nodes]
    if parameters is None:
        report = find_slots([_make_leaf(path, spec) for path, spec in leaves.items()], empty)
        return StateSurvey(report, is_apart=False, leaves=leaves)
    # Below a key that says so, names that models use as well are those of slots.
    state = [_make_leaf(path, spec, (_ABOVE,)) for path, spec in leaves.items() if path not in parameters]
    known = [_make_leaf(path, spec) for path, spec in parameters.items() if not tells_of_state([path.keys])]
    report = find_slots([*state, *known], [(_ABOVE, *keys) for keys in empty])
    trees = tuple(_take_off(tree) for tree in report.trees)
    return StateSurvey(report._replace(trees=trees), is_apart=True, leaves=leaves)


def _make_leaf(path: KeyPath, spec: LeafSpec, above: Keys = ()) -> Leaf:
    return Leaf("", "", above + path.keys, spec)


def _take_off(tree: SlotTree) -> SlotTree:
    """Takes the key off again that was put above all state."""

    def strip(leaves: Mapping[Keys, Leaf]) -> dict[Keys, Leaf]:
        """Takes it off some leaves."""
        return {keys: leaf._replace(keys=leaf.keys[1:]) for keys, leaf in leaves.items()}

    return tree._replace(above=tree.above[1:], held=strip(tree.held), orphans=strip(tree.orphans))
