"""Planning: the slots of every new alias found, the regime told, and each slot tied as its leaf is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import StateConflictError, TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.moments.companions import Companion, find_companions, find_globals, is_count
from tiecli.moments.regimes import agrees, find_regime
from tiecli.moments.resetting import reset_state
from tiecli.moments.rules import Blocks, CarriedSlot, Policy, Regime, Rule, StatePlan, choose_rule, qualify_rule
from tiecli.moments.slotties import find_slot_tie, guess_ties
from tiecli.moments.surveying import StateSurvey, survey_state
from tiecli.moments.values import Contribution, is_within, merged_blocks
from tiecli.slots import SLOTS, Keys, SlotTree
from tiecli.ties import Tie
from tiecli.transforms import SAME

RESET = "`--state reset` begins the optimizer's state anew, its counts included."
WITHOUT = "Save the parameters without optimizer state, and tie those."


def plan_state(
    reader: CheckpointReader,
    ties: Sequence[Tie],
    policy: Policy = "carry",
    parameters: Mapping[KeyPath, LeafSpec] | None = None,
) -> StatePlan:
    """Plans what becomes of the slots that an optimizer keeps for new aliases.

    Args:
        reader: The checkpoint that holds the state.
        ties: The new ties between parameters.
        policy: Carry the state across, or reset it.
        parameters: The parameters, where another checkpoint has them.

    Raises:
        StateConflictError: There is no valid rule, or the two leaves belong to different optimizers.
        UnreadableFileError: The system refused a read.
    """
    survey = survey_state(reader, parameters)
    if survey is None:
        return StatePlan()
    carrying = _Carrying(reader, survey, policy)
    found = tuple(slot for tie in ties for slot in carrying.carry(tie))
    reset = reset_state(reader, survey) if policy == "reset" and found else None
    rewritten = _merge(reader, found) if reset is None else reset.zeros
    gone = {slot.alias for slot in found}
    kept = {path: blocks for path, blocks in rewritten.items() if path not in gone}
    return StatePlan(found, kept, tuple(carrying.bare), () if reset is None else reset.names)


class _Carrying:
    """Settles the slots of one alias after another."""

    def __init__(self, reader: CheckpointReader, survey: StateSurvey, policy: Policy) -> None:
        self.reader = reader
        self.policy = policy
        self.parameters = survey.report.parameters
        self.trees = survey.report.trees
        self.companions = find_companions(survey)
        self.globals = find_globals(survey)
        self.counted = {path.keys[:-1] for path in survey.leaves if is_count(path)}
        self.bare: list[KeyPath] = []
        self._by_owner: dict[Keys, list[SlotTree]] = {}
        for tree in self.trees:
            for keys in tree.held:
                self._by_owner.setdefault(keys, []).append(tree)
        self._apart: list[list[Tie]] = []

    def carry(self, tie: Tie) -> Iterator[CarriedSlot]:
        """Settles every slot of one alias.

        Raises:
            StateConflictError: One has no valid rule.
        """
        trees = self._by_owner.get(tie.alias.keys, [])
        companions = self.companions.get(tie.alias.keys, ())
        self._check_same_optimizer(tie, trees)
        slots = [(tree, self._tie_slot(tree, tie)) for tree in trees]
        regime = self._find_regime([(tree.kind, slot) for tree, slot in slots if tree.kind != "copy"])
        beside = frozenset(tree.kind for tree in trees)
        for tree, slot in slots:
            kept: Regime = "parameters" if tree.kind == "copy" else regime
            if kept == "independent" and self._is_empty(slot):
                kept = "empty"
            rule = self._choose_rule(tree, slot, kept, self.parameters[tie.alias.keys].spec)
            adapts = tree.above in self.globals
            rule = qualify_rule(rule, tree.name, beside, adapts=adapts)
            yield CarriedSlot(tie.alias, tree.name, tree.kind, slot, kept, rule)
        for companion in companions:
            yield self._carry_companion(companion, tie, regime)

    def _tie_slot(self, tree: SlotTree, tie: Tie) -> Tie:
        held = tree.held[tie.alias.keys]
        return find_slot_tie(self.trees, tree, tie, self.parameters, KeyPath(held.keys), held.spec.dtype)

    def _find_regime(self, gathered: list[tuple[str, Tie]]) -> Regime:
        if self.policy == "reset":
            return "reset"
        regime = find_regime(self.reader, gathered)
        if regime == "independent":
            slots = [slot for _, slot in gathered]
            if any(self._are_replicas(slots, others) for others in self._apart):
                return "replicas"
            self._apart.append(slots)
        return regime

    def _are_replicas(self, slots: list[Tie], others: list[Tie]) -> bool:
        """Whether two aliases of one leaf are copies of each other that were kept equal: they count once."""
        ways = [[(slot.canonicals, slot.transform) for slot in side] for side in (slots, others)]
        return ways[0] == ways[1] and all(
            agrees(self.reader, Tie(slot.alias, (other.alias,), SAME))
            for slot, other in zip(slots, others, strict=True)
        )

    def _is_empty(self, slot: Tie) -> bool:
        """Whether nothing stands here on either side, as where a matrix is kept in another form."""
        return is_within(self.reader, slot.alias, 0.0) and agrees(self.reader, slot)

    def _choose_rule(self, tree: SlotTree, slot: Tie, regime: Regime, alias: LeafSpec) -> Rule:
        specs = self.reader.specs()
        spec = specs[slot.alias]
        sources = [specs[path] for path in slot.canonicals]
        rule = choose_rule(tree.kind, regime)
        said = f"`{slot.alias.spelling}` cannot be merged with `{slot.canonical}`: "
        if not _fits(slot, sources, spec):
            raise StateConflictError(f"{said}the one is {spec}, the other {sources[0]}", WITHOUT)
        if regime == "independent" and {spec.dtype.kind, sources[0].dtype.kind} - {"float", "complex"}:
            raise StateConflictError(f"{said}{spec.dtype} holds codes, which have no sum", WITHOUT)
        centred = regime == "independent" and tree.kind == "square" and self._are_centred(tree)
        if rule is None or centred or (regime == "independent" and spec.shape != alias.shape):
            why = ", and less the square of their average" if centred else ""
            raise StateConflictError(
                f"{said}there is no valid rule for `{tree.name}` of leaves that were trained apart{why}", RESET
            )
        return rule

    def _are_centred(self, tree: SlotTree) -> bool:
        """Whether the square of an average is taken off squares: off a sum of them it can leave less than nothing."""
        beside = {twin.name for twin in self.trees if twin.above == tree.above}
        # Adam has the same names, and a count; centred RMSProp has none.
        return "grad_avg" in beside or (tree.name == "nu" and "mu" in beside and tree.above not in self.counted)

    def _carry_companion(self, companion: Companion, tie: Tie, regime: Regime) -> CarriedSlot:
        """Settles what goes by no known name: a number must be equal, anything else must follow as its leaf does."""
        specs = self.reader.specs()
        places = (companion.find_twin(path) for path in tie.canonicals)
        twins = tuple(place for place in places if place is not None and place in specs)
        by = f", as {companion.maker} does" if companion.maker else ""
        if len(twins) < len(tie.canonicals):
            raise StateConflictError(
                f"`{companion.path.spelling}` is kept for `{tie.alias.spelling}`{by}, and not for `{tie.canonical}`",
                WITHOUT,
            )
        is_number = companion.spec.size == 1
        sources = [specs[twin] for twin in twins]
        guesses = guess_ties(tie, companion.path, twins, (sources[0].dtype, companion.spec.dtype))
        guesses = guesses[-1:] if is_number else guesses
        fitting = [guess for guess in guesses if _fits(guess, sources, companion.spec)]
        if regime in ("dead", "reset") and fitting:
            return _name(companion, fitting[0], regime)
        if is_number or regime != "independent":
            for guess in fitting:
                if agrees(self.reader, guess):
                    return _name(companion, guess, "counts" if is_number else "replicas")
        if is_number:
            raise StateConflictError(
                f"`{companion.path.spelling}` and `{twins[0].spelling}` differ, and one leaf has one of them", RESET
            )
        said = f"`{companion.path.spelling}` is {companion.spec}, kept for `{tie.alias.spelling}`{by}: "
        leaf = self.parameters[tie.alias.keys].spec
        if companion.name in SLOTS and companion.spec.shape != leaf.shape:
            raise StateConflictError(
                f"{said}that one is {leaf}, so the state is another model's",
                "Give the checkpoint whose parameters it was saved with: --params, where it is another.",
            )
        raise StateConflictError(f"{said}there is no known rule for it", WITHOUT)

    def _check_same_optimizer(self, tie: Tie, trees: Sequence[SlotTree]) -> None:
        """Refuses what an optimizer keeps for one side only, but for an alias that nothing at all is kept for."""
        for tree in trees:
            for path in tie.canonicals:
                if path.keys not in tree.held:
                    raise _different(tree, tie.alias, path)
        above = {tree.above for tree in trees}
        theirs = [(path, tree) for path in tie.canonicals for tree in self._by_owner.get(path.keys, ())]
        for path, tree in theirs:
            if tree.kind != "copy" and tree.above in above and tie.alias.keys not in tree.held:
                raise _different(tree, path, tie.alias)
        if not trees and any(tree.kind != "copy" for _, tree in theirs):
            self.bare.append(tie.alias)


def _different(tree: SlotTree, has: KeyPath, lacks: KeyPath) -> StateConflictError:
    return StateConflictError(
        f"`{tree.name}` is kept for `{has.spelling}` and not for `{lacks.spelling}`: "
        "a mask, or another optimizer, has one of them",
        "Save the two with one optimizer first, or save the parameters without optimizer state and tie those.",
    )


def _name(companion: Companion, tie: Tie, regime: Regime) -> CarriedSlot:
    rule = choose_rule("update", regime)
    assert rule is not None
    return CarriedSlot(
        KeyPath(companion.owner), companion.name, "count" if companion.spec.size == 1 else "other", tie, regime, rule
    )


def _fits(tie: Tie, sources: Sequence[LeafSpec], spec: LeafSpec) -> bool:
    try:
        return tie.transform.spec(sources[: len(tie.canonicals)]) == spec
    except TransformMismatchError:
        return False


def _merge(reader: CheckpointReader, slots: Sequence[CarriedSlot]) -> dict[KeyPath, Blocks]:
    """Lists the slots that take others up, each with all that it takes."""
    specs = reader.specs()
    taken: dict[KeyPath, list[Contribution]] = {}
    for slot in slots:
        if slot.regime == "independent":
            sources = tuple(specs[path] for path in slot.tie.canonicals)
            signed = slot.kind == "linear" or specs[slot.alias].dtype.kind == "complex"
            for part, path in enumerate(slot.tie.canonicals):
                one = Contribution(slot.alias, slot.tie.transform, sources, part, signed)
                taken.setdefault(path, []).append(one)
    return {path: _give_merged(reader, path, tuple(parts)) for path, parts in taken.items()}


def _give_merged(reader: CheckpointReader, path: KeyPath, parts: tuple[Contribution, ...]) -> Blocks:
    return lambda: merged_blocks(reader, path, parts)
