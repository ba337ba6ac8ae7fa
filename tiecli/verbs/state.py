"""State: what `tie` and `untie` do about what optimizers keep for the leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tiecli.apply import ProvenTie, prove_ties
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Progress, Selection, ignore_progress
from tiecli.checkpoints.siblings import list_siblings
from tiecli.compare import digest_blocks
from tiecli.compare.streams import digest_leaf, digest_values
from tiecli.errors import CheckpointError, NothingToTieError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import TieRecord
from tiecli.moments import CarriedSlot, Policy, StatePlan, plan_state
from tiecli.plan import Plan, TieRequest, plan_tie
from tiecli.reports import ReportedSlot
from tiecli.slots import Leaf, find_slots
from tiecli.ties import Tie, TieSet
from tiecli.transforms.steps import Scale


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters that another checkpoint holds than the state does.

    Attributes:
        specs: Its leaves, the aliases that it does not store included.
        ties: The ties whose state is to be carried.
    """

    specs: Mapping[KeyPath, LeafSpec]
    ties: tuple[Tie, ...]


def read_parameters(path: Path, requests: Sequence[TieRequest], selection: Selection = Selection()) -> Parameters:
    """Reads which parameters there are, and which of them are, or will be, tied.

    Args:
        path: The checkpoint that holds them, tied already or not.
        requests: The ties between them; none for those that it records.
        selection: Its step and item.

    Raises:
        NothingToTieError: Nothing is requested, and it records nothing.
        CheckpointError: It cannot be trusted or read.
    """
    with open_reader(path, selection) as reader:
        manifest = reader.manifest()
        recorded = {record.tie.alias: record.alias_spec for record in manifest.records} if manifest else {}
        specs = {**recorded, **reader.specs()}
        if not requests:
            if manifest is None:
                raise NothingToTieError(
                    f"`{path}` records no tie whose optimizer state could be carried",
                    "Name the ties with --src and --dst, or tie the parameters first.",
                )
            return Parameters(specs, tuple(record.tie for record in manifest.records if not record.slot))
        plan = plan_tie(specs, TieSet(()), requests)
        return Parameters(specs, tuple(planned.tie for planned in plan.added))


def carry_state(
    reader: CheckpointReader, ties: Sequence[Tie], policy: Policy, parameters: Parameters | None
) -> StatePlan:
    """Plans what becomes of the state of new aliases, those slots left out that were asked for as ties themselves.

    Raises:
        StateConflictError: There is no valid rule for it.
        NothingToTieError: The parameters are elsewhere, and no state of theirs is here.
    """
    state = plan_state(reader, ties, policy, parameters.specs if parameters else None)
    if parameters is not None and not state.slots:
        names = ", ".join(f"`{tie.alias.spelling}`" for tie in ties[:3])
        raise NothingToTieError(
            f"`{reader.root}` holds no optimizer state of {names}",
            "Slots are found by the parameters' names: `tiecli inspect` lists what is there.",
        )
    asked = {tie.alias for tie in ties}
    return replace(state, slots=tuple(slot for slot in state.slots if slot.alias not in asked))


def prove_slots(
    reader: CheckpointReader, plan: Plan, state: StatePlan, progress: Progress = ignore_progress
) -> tuple[ProvenTie, ...]:
    """Proves the slots that are equal bit for bit, and records what becomes of the others.

    Raises:
        DriftedPairError: A copy of the parameters does not follow as they do.
    """
    slots = {slot.alias: slot for slot in state.slots}
    rewritten = state.rewritten or {}
    planned = [one for one in plan.added if one.tie.alias in slots]
    equal = [one for one in planned if _is_equal(slots[one.tie.alias], rewritten)]
    proven = list(prove_ties(reader, replace(plan, added=tuple(equal)), progress=progress))
    proven = [replace(one, record=replace(one.record, slot="kept"), also_fits=()) for one in proven]
    for one in planned:
        if one in equal:
            continue
        digests = tuple(
            digest_blocks(rewritten[path]()) if path in rewritten else digest_leaf(reader, path)
            for path in one.tie.canonicals
        )
        merged = any(path in rewritten for path in one.tie.canonicals)
        before = digest_values(reader, one.tie.alias)
        specs = one.canonical_specs
        record = TieRecord(one.tie, one.alias_spec, specs, before, digests, exact=False)
        proven.append(ProvenTie(replace(record, slot="merged" if merged else "kept")))
    return tuple(proven)


def _is_equal(slot: CarriedSlot, rewritten: Mapping[KeyPath, object]) -> bool:
    return slot.regime in ("replicas", "parameters", "counts", "empty") and not any(
        path in rewritten for path in slot.tie.canonicals
    )


def find_state_elsewhere(reader: CheckpointReader, ties: Sequence[Tie]) -> Iterator[str]:
    """Words where else optimizer state of new aliases lies, which stays as it is.

    Raises:
        UnreadableFileError: The system refuses to list a directory.
    """
    parameters = reader.specs()
    wanted = {tie.alias.keys for tie in ties}
    for path in list_siblings(reader):
        try:
            with open_reader(path) as sibling:
                leaves = [Leaf(leaf.spelling, "", leaf.keys, spec) for leaf, spec in sibling.specs().items()]
        except CheckpointError:
            # Whatever it is, it is not what is tied.
            continue
        known = [Leaf(leaf.spelling, "elsewhere", leaf.keys, spec) for leaf, spec in parameters.items()]
        trees = find_slots([*leaves, *known]).trees
        if any(wanted & tree.held.keys() for tree in trees):
            yield (
                f"`{path}` keeps optimizer state of the aliases, and stays as it is: "
                f"`tiecli tie {path} --params TIED -o OUT` carries it across"
            )


def report_slots(state: StatePlan) -> tuple[ReportedSlot, ...]:
    """Reports every slot, with the rule used and whether it is exact."""
    return tuple(
        ReportedSlot(
            slot.slot,
            slot.alias.spelling,
            slot.canonical,
            slot.tie.transform,
            slot.regime,
            slot.rule,
            slot.exact,
        )
        for slot in state.slots
    )


def word_effects(state: StatePlan, ties: Sequence[Tie]) -> Iterator[str]:
    """Words what no rewriting of state can carry: rates, decay, clipping."""
    if not state.slots:
        return
    for tie in ties:
        factor = 1.0
        for step in tie.transform.steps:
            factor *= step.factor if isinstance(step, Scale) else 1.0
        if abs(factor) != 1.0:
            yield (
                f"`{tie.alias.spelling}` follows at {factor:g} times: a step of SGD through `{tie.canonical}` moves it "
                f"{factor * factor:g} times as far as one of its own did, one of Adam {abs(factor):g} times"
            )
    if any(slot.regime == "independent" for slot in state.slots):
        yield (
            "weight decay now shrinks the leaf once, and a clip of the global norm sees one gradient in place of two"
        )
    if any(slot.regime == "dead" for slot in state.slots):
        yield "the aliases' state is zero: they never received a gradient, whatever the model's code suggests"
