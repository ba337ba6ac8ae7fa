"""Planning: the slots of every new alias found, the regime told, and each slot tied as its leaf is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import StateConflictError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DType, LeafSpec
from tiecli.moments.counts import list_counts, pair_counts
from tiecli.moments.regimes import find_regime
from tiecli.moments.rules import CarriedSlot, Policy, Regime, choose_rule
from tiecli.moments.values import Contribution, merged_blocks, zero_blocks
from tiecli.plan import TieRequest
from tiecli.slots import Keys, Leaf, SlotReport, SlotTree, find_slots
from tiecli.ties import Tie
from tiecli.transforms import SAME, Transform
from tiecli.transforms.pulling import find_slot_transform

Blocks = Callable[[], Iterator[memoryview]]

_RESET = "`--state reset` begins the optimizer's state anew, its counts included."
_PLACEHOLDERS = ((), (1,))


@dataclass(frozen=True, slots=True)
class StatePlan:
    """What becomes of the state of an optimizer.

    Attributes:
        slots: Every slot of every new alias.
        rewritten: Leaves that get new values, each with what gives them as often as asked.
    """

    slots: tuple[CarriedSlot, ...] = ()
    rewritten: Mapping[KeyPath, Blocks] | None = None

    @property
    def requests(self) -> tuple[TieRequest, ...]:
        """The ties of the slots, as `plan_tie` takes them."""
        return tuple(
            TieRequest(slot.tie.canonicals[0] if len(slot.tie.canonicals) == 1 else slot.canonical, slot.alias,
                       slot.tie.transform)
            for slot in self.slots
        )  # fmt: skip


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
    report = _survey(reader, parameters or {})
    if not report.trees:
        return StatePlan()
    carrying = _Carrying(reader, report, policy)
    found = [slot for tie in ties for slot in carrying.carry(tie)]
    merged: dict[KeyPath, Blocks] = _reset(reader, report) if policy == "reset" else _merge(reader, found)
    gone = {slot.alias for slot in found}
    return StatePlan(tuple(found), {path: blocks for path, blocks in merged.items() if path not in gone})


def _survey(reader: CheckpointReader, parameters: Mapping[KeyPath, LeafSpec]) -> SlotReport:
    own = [Leaf(path.spelling, "", path.keys, spec) for path, spec in reader.specs().items()]
    known = {leaf.keys for leaf in own}
    other = [Leaf(path.spelling, "elsewhere", path.keys, spec) for path, spec in parameters.items()]
    empty = [path.keys for path, _ in reader.other_nodes]
    return find_slots([*own, *(leaf for leaf in other if leaf.keys not in known)], empty)


class _Carrying:
    """Settles the slots of one alias after another."""

    def __init__(self, reader: CheckpointReader, report: SlotReport, policy: Policy) -> None:
        self.reader = reader
        self.report = report
        self.policy = policy

    def carry(self, tie: Tie) -> Iterator[CarriedSlot]:
        """Settles every slot of one alias.

        Raises:
            StateConflictError: One has no valid rule.
        """
        trees = [tree for tree in self.report.trees if tie.alias.keys in tree.held]
        for tree in trees:
            _check_same_optimizer(tree, tie)
        gathered = [self._tie_slot(tree, tie) for tree in trees if tree.kind != "copy"]
        regime: Regime = "reset" if self.policy == "reset" else find_regime(self.reader, gathered)
        for tree in trees:
            slot = self._tie_slot(tree, tie)
            kept: Regime = "parameters" if tree.kind == "copy" else regime
            if tree.kind != "factor" and _is_placeholder(tree, tie):
                kept = "empty"
            rule = choose_rule(tree.kind, kept, tree.name)
            if rule is None:
                raise StateConflictError(
                    f"`{slot.alias.spelling}` cannot be merged with `{slot.canonical}`: "
                    f"there is no valid rule for `{tree.name}` of leaves that were trained apart",
                    _RESET,
                )
            yield CarriedSlot(tree.name, tree.kind, slot, kept, *rule)
        yield from pair_counts(self.reader, self.report, trees, tie, self.policy)

    def _tie_slot(self, tree: SlotTree, tie: Tie) -> Tie:
        """Says how the slot of an alias follows from that of its canonical leaf."""
        held = tree.held[tie.alias.keys]
        sources = tuple(tree.held[path.keys] for path in tie.canonicals)
        if tree.kind == "factor":
            sources = (tie_factor(self.report.trees, tree, tie, sources[0]), *sources[1:])
        transform = tie_gathered(tree, tie.transform, sources[0].spec, held.spec.dtype)
        return Tie(KeyPath(held.keys), tuple(KeyPath(source.keys) for source in sources), transform)


def tie_factor(trees: Sequence[SlotTree], tree: SlotTree, tie: Tie, own: Leaf) -> Leaf:
    """Finds the rows or columns that a factor follows from: of a square matrix that is turned, the others.

    Of any other matrix the longer axis is the row, however it is turned.

    Args:
        trees: All slots.
        tree: The factor's.
        tie: How the parameter follows.
        own: The factor of the same name.
    """
    twin = _find_twin(trees, tree)
    if twin is None:
        return own
    other = twin.held.get(tie.canonicals[0].keys, own)
    axes = tie.transform.permutation(2)
    is_square = other.spec.shape == own.spec.shape
    return other if is_square and axes == (1, 0) else own


def _find_twin(trees: Sequence[SlotTree], tree: SlotTree) -> SlotTree | None:
    name = tree.name.replace("row", "*").replace("col", "row").replace("*", "col")
    return next((other for other in trees if other.above == tree.above and other.name == name), None)


def tie_gathered(tree: SlotTree, transform: Transform, source: LeafSpec, dtype: DType) -> Transform:
    """Says how the slot of an alias follows from its canonical leaf's.

    Args:
        tree: The slots.
        transform: How the parameter follows.
        source: The canonical leaf's slot.
        dtype: Of the alias's.
    """
    if tree.kind == "copy":
        return transform
    if tree.kind == "factor" or source.shape in _PLACEHOLDERS:
        return SAME
    return find_slot_transform(transform, (source.dtype, dtype), squared=tree.kind == "square")


def _is_placeholder(tree: SlotTree, tie: Tie) -> bool:
    """Whether all that stands here is what stands where a matrix is not kept."""
    return all(tree.held[path.keys].spec.shape in _PLACEHOLDERS for path in (tie.alias, *tie.canonicals))


def _check_same_optimizer(tree: SlotTree, tie: Tie) -> None:
    for path in tie.canonicals:
        if path.keys not in tree.held:
            raise StateConflictError(
                f"`{tree.name}` is kept for `{tie.alias.spelling}` and not for `{path.spelling}`: "
                "a mask, or another optimizer, has one of them",
                f"Save the two with one optimizer first, or begin anew: {_RESET}",
            )


def _merge(reader: CheckpointReader, slots: Sequence[CarriedSlot]) -> dict[KeyPath, Blocks]:
    """Lists the slots that take others up, each with all that it takes."""
    specs = reader.specs()
    taken: dict[KeyPath, list[Contribution]] = {}
    for slot in slots:
        if slot.regime == "independent":
            sources = tuple(specs[path] for path in slot.tie.canonicals)
            for part, path in enumerate(slot.tie.canonicals):
                taken.setdefault(path, []).append(Contribution(slot.alias, slot.tie.transform, sources, part))
    return {path: _give_merged(reader, path, tuple(parts)) for path, parts in taken.items()}


def _give_merged(reader: CheckpointReader, path: KeyPath, parts: tuple[Contribution, ...]) -> Blocks:
    return lambda: merged_blocks(reader, path, parts)


def _reset(reader: CheckpointReader, report: SlotReport) -> dict[KeyPath, Blocks]:
    """Sets everything that an optimizer gathered to zero, for all parameters, and its counts."""
    slots: list[Keys] = [
        leaf.keys
        for tree in report.trees
        if tree.kind != "copy"
        for leaf in (*tree.held.values(), *tree.orphans.values())
    ]
    paths = [KeyPath(keys) for keys in slots] + list_counts(reader, report)
    return {path: _give_zeros(reader.specs()[path]) for path in paths}


def _give_zeros(spec: LeafSpec) -> Blocks:
    return lambda: zero_blocks(spec)
