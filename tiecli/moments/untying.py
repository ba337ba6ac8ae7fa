"""Untying: what an optimizer is to keep for a leaf that is stored again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.moments.companions import Companion, find_companions
from tiecli.moments.rules import CarriedSlot, RestoredState, choose_copy
from tiecli.moments.slotties import find_slot_tie, is_whole
from tiecli.moments.surveying import StateSurvey, survey_state
from tiecli.slots import Keys, SlotTree
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME


def plan_restored(reader: CheckpointReader, restored: TieSet, recorded: Mapping[KeyPath, LeafSpec]) -> RestoredState:
    """Finds the state that leaves that are stored again are to have.

    What the manifest records comes back by itself. Where nothing is recorded, as where a
    program saved its model tied, the leaf gets a copy of the state that it followed from: as
    long as the two get the same gradients, training goes on as it did, and `tie` then finds replicas.

    Args:
        reader: The checkpoint.
        restored: The ties that end, those of slots left out.
        recorded: All aliases of the manifest, with what they were.
    """
    specs = reader.specs()
    leaves = {
        **{tie.alias: tie.transform.spec([specs[path] for path in tie.canonicals]) for tie in restored},
        **recorded,
    }
    survey = survey_state(reader, recorded=leaves)
    return RestoredState() if survey is None else _Restoring(survey, restored, recorded.keys()).plan()


class _Restoring:
    """Finds the slots of one alias after another."""

    def __init__(self, survey: StateSurvey, restored: TieSet, recorded: Collection[KeyPath]) -> None:
        self.survey = survey
        self.restored = restored
        self.recorded = recorded
        self.trees = survey.report.trees
        self.companions = find_companions(survey)
        self.unknown: list[KeyPath] = []

    def plan(self) -> RestoredState:
        """Finds them all."""
        wanted = [tie.alias.keys for tie in self.restored]
        kept = {KeyPath(tree.held[keys].keys) for tree in self.trees for keys in wanted if keys in tree.held}
        kept |= {companion.path for keys in wanted for companion in self.companions.get(keys, ())}
        copied = tuple(slot for tie in self.restored for slot in self._copy(tie))
        return RestoredState(frozenset(kept & {*self.recorded}), copied, tuple(self.unknown))

    def _copy(self, tie: Tie) -> Iterator[CarriedSlot]:
        for tree in self.trees:
            if tie.alias.keys not in tree.held and all(path.keys in tree.held for path in tie.canonicals):
                slot = self._copy_slot(tree, tie)
                if slot is not None:
                    yield CarriedSlot(tie.alias, tree.name, tree.kind, slot, "replicas", choose_copy(slot.transform))
        have = {companion.path for companion in self.companions.get(tie.alias.keys, ())}
        for companion in self.companions.get(tie.canonicals[0].keys, ()):
            target = companion.find_twin(tie.alias)
            if target is not None and target not in have:
                slot = self._copy_companion(companion, target, tie)
                if slot is not None:
                    kind = "count" if companion.spec.size == 1 else "other"
                    rule = choose_copy(slot.transform)
                    yield CarriedSlot(tie.alias, companion.name, kind, slot, "replicas", rule)  # type: ignore[arg-type]

    def _copy_slot(self, tree: SlotTree, tie: Tie) -> Tie | None:
        own = tree.held[tie.canonicals[0].keys]
        target = _place(tree, own.keys, tie)
        parameters = self.survey.report.parameters
        whole = is_whole([own], [parameters[tie.canonicals[0].keys].spec])
        if target is None or not (whole or own.spec.size == 1 or tree.kind == "factor" or tie.transform.is_same):
            self.unknown.append(KeyPath(own.keys))
            return None
        return find_slot_tie(self.trees, tree, tie, parameters, KeyPath(target), own.spec.dtype)

    def _copy_companion(self, companion: Companion, target: KeyPath, tie: Tie) -> Tie | None:
        if companion.spec.size != 1 and not tie.transform.is_same:
            self.unknown.append(companion.path)
            return None
        return Tie(target, (companion.path,), SAME)


def _place(tree: SlotTree, held: Keys, tie: Tie) -> Keys | None:
    """Finds where the slot of an alias stands: where that of its canonical leaf does, under the other name."""
    rest = tie.canonicals[0].keys[len(tree.root) :]
    end = len(held) if tree.is_first else len(held) - 1
    if tie.alias.keys[: len(tree.root)] != tree.root or held[end - len(rest) : end] != rest:
        return None
    return held[: end - len(rest)] + tie.alias.keys[len(tree.root) :] + held[end:]
