"""State: what `tie` does about what optimizers keep for the leaves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tiecli.apply import ProvenTie, prove_ties
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Progress, ignore_progress
from tiecli.compare import digest_blocks
from tiecli.compare.streams import digest_leaf, digest_values
from tiecli.errors import LeafNotFoundError, NothingToTieError, PartNotFoundError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import TieRecord
from tiecli.moments import CarriedSlot, Policy, StatePlan
from tiecli.plan import Plan, PlannedTie, Side, TieRequest, plan_tie
from tiecli.reports import ReportedSlot
from tiecli.slots import tells_of_state
from tiecli.ties import Tie, TieSet


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters that another checkpoint holds than the state does.

    Attributes:
        specs: Its leaves, the aliases that it does not store included.
        ties: The ties whose state is to be carried.
        omitted: Aliases that it is known not to store.
    """

    specs: Mapping[KeyPath, LeafSpec]
    ties: tuple[Tie, ...]
    omitted: frozenset[KeyPath] = frozenset()


def read_parameters(path: Path, requests: Sequence[TieRequest]) -> Parameters:
    """Reads which parameters there are, and which of them are, or will be, tied.

    Args:
        path: The checkpoint that holds them, tied already or not.
        requests: The ties between them; none for those that it records.

    Raises:
        NothingToTieError: Nothing is requested, and it records nothing.
        UsageError: A request names no leaf of it, or it has several items.
        CheckpointError: It cannot be trusted or read.
    """
    try:
        return _read_parameters(path, requests)
    except PartNotFoundError as error:
        hint = "--item is of the checkpoint with the state; give --params the directory of one item."
        raise PartNotFoundError(error.message, hint) from error
    except LeafNotFoundError as error:
        raise LeafNotFoundError(f"{error.message} of `{path}`", *error.hints) from error


def _read_parameters(path: Path, requests: Sequence[TieRequest]) -> Parameters:
    with open_reader(path) as reader:
        manifest = reader.manifest()
        records = {record.tie.alias: record for record in manifest.records} if manifest else {}
        specs = {**{alias: record.alias_spec for alias, record in records.items()}, **reader.specs()}
        recorded = tuple(record.tie for record in records.values() if not record.slot)
        if requests:
            plan = plan_tie(specs, TieSet(()), requests)
            return Parameters(specs, tuple(planned.tie for planned in plan.added))
        if not recorded:
            raise NothingToTieError(
                f"`{path}` records no tie whose optimizer state could be carried",
                "Tie the parameters first, or name the ties with --src and --dst.",
            )
        omitted = frozenset(alias for alias, record in records.items() if record.mode == "omit")
        return Parameters(specs, recorded, omitted)


def carry_state(
    reader: CheckpointReader, ties: Sequence[Tie], policy: Policy, parameters: Parameters | None
) -> StatePlan:
    """Plans what becomes of the state of new aliases.

    A slot that was asked for as a tie of its own is carried with its leaf if it follows as
    that one does; under another transform it is a tie like any other.

    Raises:
        StateConflictError: There is no valid rule for it.
        NothingToTieError: The parameters are elsewhere, and no state of theirs is here.
    """
    if parameters is None and not tells_of_state(path.keys for path in reader.specs()):
        return StatePlan()
    from tiecli.moments.planning import plan_state

    state = plan_state(reader, ties, policy, parameters.specs if parameters else None)
    if parameters is not None and not state.slots:
        names = ", ".join(f"`{tie.alias.spelling}`" for tie in ties[:3])
        raise NothingToTieError(
            f"`{reader.root}` holds no optimizer state of {names}",
            "Slots are found by the parameters' names: `tiecli inspect` lists what is there.",
        )
    asked = {tie.alias: tie for tie in ties}
    return replace(state, slots=tuple(slot for slot in state.slots if asked.get(slot.alias, slot.tie) == slot.tie))


def prove_slots(
    reader: CheckpointReader,
    plan: Plan,
    state: StatePlan,
    *,
    keep: Side | None = None,
    progress: Progress = ignore_progress,
) -> tuple[ProvenTie, ...]:
    """Proves the slots that are equal bit for bit, and records what becomes of the others.

    Args:
        reader: The checkpoint.
        plan: All ties to make.
        state: What becomes of the slots.
        keep: Which side's values survive where copies of the parameters have drifted apart, as the leaves did.
        progress: Told the bytes compared.

    Raises:
        DriftedPairError: A copy of the parameters does not follow as they do.
    """
    slots = {slot.alias: slot for slot in state.slots}
    planned = [one for one in plan.added if one.tie.alias in slots]
    equal = [one for one in planned if _is_equal(reader, slots[one.tie.alias], state)]
    proven = prove_ties(reader, replace(plan, added=tuple(equal)), keep=keep, progress=progress)
    kept = [replace(one, record=replace(one.record, slot="kept"), also_fits=()) for one in proven]
    given_up = [_give_up(reader, one, state) for one in planned if one not in equal]
    return (*kept, *given_up)


def _is_equal(reader: CheckpointReader, slot: CarriedSlot, state: StatePlan) -> bool:
    """Whether a slot must be what its canonical leaf's gives, or happens to be."""
    if any(path in state.rewritten for path in slot.tie.canonicals):
        return False
    if slot.regime in ("replicas", "parameters", "counts"):
        return True
    from tiecli.moments.regimes import agrees

    return agrees(reader, slot.tie)


def _give_up(reader: CheckpointReader, planned: PlannedTie, state: StatePlan) -> ProvenTie:
    """Records a slot whose values are merged into others, or given up."""
    rewritten = state.rewritten
    digests = tuple(
        digest_blocks(rewritten[path]()) if path in rewritten else digest_leaf(reader, path)
        for path in planned.tie.canonicals
    )
    merged = any(path in rewritten for path in planned.tie.canonicals)
    before = digest_values(reader, planned.tie.alias)
    record = TieRecord(planned.tie, planned.alias_spec, planned.canonical_specs, before, digests, exact=False)
    return ProvenTie(replace(record, slot="merged" if merged else "kept"))


def share_together(
    shared: frozenset[KeyPath], plan: Plan, state: StatePlan, omitted: Collection[KeyPath] = ()
) -> frozenset[KeyPath]:
    """Has a leaf and its slots be second names all or none, as a program finds either both of a leaf or neither.

    Args:
        shared: New aliases that could be second names.
        plan: All new ties.
        state: The slots.
        omitted: Aliases of another checkpoint that it does not store.
    """
    alone = {planned.tie.alias for planned in plan.added} - shared
    owners = {*omitted} | {slot.owner for slot in state.slots if {slot.alias, slot.owner} & alone}
    return shared - owners - {slot.alias for slot in state.slots if slot.owner in owners}


def report_slots(
    state: StatePlan, proven: Sequence[ProvenTie], shared: Collection[KeyPath]
) -> tuple[ReportedSlot, ...]:
    """Reports every slot, with the rule used and whether it is exact."""
    drifted = {one.record.tie.alias for one in proven if one.drift is not None}
    return tuple(
        ReportedSlot(
            slot.slot,
            slot.alias.spelling,
            slot.canonical,
            slot.tie.transform,
            slot.regime,
            *(("differed, one side given up", False) if slot.alias in drifted else slot.rule),
            mode="alias" if slot.alias in shared else "omit",
        )
        for slot in state.slots
    )
