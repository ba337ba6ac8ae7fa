"""Tying: one canonical leaf and a manifest in place of several equal leaves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tiecli.apply import ProvenTie, apply_plan, choose_shared, prove_ties
from tiecli.architectures import ConfigChange, plan_config_change
from tiecli.checkpoints import carries_texts, check_rewritable, check_target, open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Progress, Selection, Target, Tracker, track_nothing
from tiecli.checkpoints.wording import list_names
from tiecli.declared import CONFIG, list_shared
from tiecli.errors import DriftedPairError, InPlaceError
from tiecli.keypaths import KeyPath, find_emptied
from tiecli.moments import Policy, StatePlan
from tiecli.plan import Mode, Plan, Side, TieRequest, plan_tie
from tiecli.reports import ApplyReport, ReportedTie, report_plan
from tiecli.slots import tells_of_state
from tiecli.ties import Tie, TieSet
from tiecli.verbs.effects import word_effects, word_unmatched
from tiecli.verbs.elsewhere import find_state_elsewhere, word_elsewhere, word_pickled
from tiecli.verbs.state import (
    Parameters,
    carry_state,
    prove_slots,
    read_parameters,
    report_slots,
    share_together,
)


def tie(
    checkpoint: str | Path,
    requests: Sequence[TieRequest],
    target: Target | None = None,
    *,
    keep: Side | None = None,
    mode: Mode | None = None,
    state: Policy = "carry",
    parameters: str | Path | None = None,
    step: int | None = None,
    item: str | None = None,
    track: Tracker = track_nothing,
) -> ApplyReport:
    """Ties leaves of a checkpoint: proves each tie bit for bit, then writes without the aliases.

    What an optimizer keeps for them in the same checkpoint goes along; see docs/optimizer-state.md.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, an Orbax checkpoint, or any file of one.
        requests: What to tie to what; patterns may stand for many leaves.
        target: Where the result goes; None proves and reports only.
        keep: Which side's values survive where a pair has drifted apart; None refuses.
        mode: What becomes of the aliases; None keeps them as second names of the same stored
            bytes where the format can, and drops them elsewhere.
        state: Carry the optimizer's state across, or reset it, where the checkpoint has any.
        parameters: The checkpoint that holds the leaves, where `checkpoint` holds the
            optimizer's state alone; without requests, the ties that it records.
        step: Of a root of steps, which one; None for the latest.
        item: Of a step, which item; None for the only one.
        track: Shows progress.

    Raises:
        UsageError: A request names no leaf, does not pair up, or contradicts another.
        StateConflictError: The state of two leaves cannot become that of one.
        ProofError: The bytes are not what a request says, or fit several transforms.
        CheckpointError: The source cannot be trusted or read.
        TargetError: The target cannot be written; nothing was published.
    """
    with open_reader(Path(checkpoint), Selection(step, item)) as reader:
        apart = None if parameters is None else read_parameters(Path(parameters), requests)
        work = _plan(reader, requests, state, apart, mode)
        check_rewritable(reader)
        if target is not None:
            check_target(reader, target)
        return _carry_out(reader, work, target, keep, state, track)


def _carry_out(
    reader: CheckpointReader, work: _Work, target: Target | None, keep: Side | None, state: Policy, track: Tracker
) -> ApplyReport:
    """Proves everything, and writes it where there is a target."""
    with track("comparing", sum(planned.alias_spec.nbytes for planned in work.plan.added)) as progress:
        proven = _prove(reader, work.leaves, keep, progress)
        slots = prove_slots(reader, work.plan, work.state, keep=keep, progress=progress)
    change = _change_config(reader, work.leaves, target)
    report = _report(reader, work.plan, proven, change, work.shared)
    report = replace(report, slots=report_slots(work.state, slots, work.shared))
    report = _add_notices(report, word_effects(work.state, work.ties, state))
    if work.leaves.added and not work.state.slots:
        unmatched = () if work.state.bare else word_unmatched(reader.specs(), work.ties)
        report = _add_notices(report, (*unmatched, *word_pickled(reader)))
    if target is None:
        return _add_notices(report, word_elsewhere(work.elsewhere, reader, None, None))
    with track("writing", work.plan.bytes_after) as progress:
        commit = apply_plan(
            reader,
            work.plan,
            (*proven, *slots),
            target,
            shared=work.shared,
            rewritten=work.state.rewritten,
            texts={CONFIG: change.text} if change.text is not None else {},
            keep=keep,
            progress=progress,
        )
    report = _add_notices(report, commit.notices)
    report = _add_notices(report, word_elsewhere(work.elsewhere, reader, target, commit.target))
    return replace(report, output=commit.target)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done.

    Attributes:
        plan: All of it.
        leaves: What was asked for, without the slots that go along.
        ties: The ties between parameters.
        state: What becomes of the slots.
        shared: New aliases that become second names.
        elsewhere: Where else optimizer state of the aliases lies.
    """

    plan: Plan
    leaves: Plan
    ties: tuple[Tie, ...]
    state: StatePlan
    shared: frozenset[KeyPath]
    elsewhere: tuple[Path, ...]


def _plan(
    reader: CheckpointReader,
    requests: Sequence[TieRequest],
    policy: Policy,
    apart: Parameters | None,
    mode: Mode | None,
) -> _Work:
    """Plans the ties that were asked for, then those of what an optimizer keeps for the leaves."""
    manifest = reader.manifest()
    known, second, specs = manifest.ties if manifest else TieSet(()), list_shared(reader), reader.specs()
    if apart is not None:
        state = carry_state(reader, apart.ties, policy, apart)
        plan = plan_tie(specs, known, (), second, [slot.tie for slot in state.slots])
        omitted = apart.omitted if mode is None else ()
        shared = share_together(choose_shared(reader, plan, mode), plan, state, omitted)
        return _Work(plan, replace(plan, added=()), apart.ties, state, shared, ())
    leaves = plan = plan_tie(specs, known, requests, second)
    ties = tuple(planned.tie for planned in leaves.added)
    state = carry_state(reader, ties, policy, None)
    if state.slots:
        plan = plan_tie(specs, known, requests, second, [slot.tie for slot in state.slots])
        carried = {slot.alias for slot in state.slots}
        leaves = replace(plan, added=tuple(planned for planned in plan.added if planned.tie.alias not in carried))
    elsewhere = find_state_elsewhere(reader, ties)
    shared = share_together(choose_shared(reader, plan, mode), plan, state)
    return _Work(plan, leaves, ties, state, shared, elsewhere)


def _prove(reader: CheckpointReader, leaves: Plan, keep: Side | None, progress: Progress) -> tuple[ProvenTie, ...]:
    """Proves the ties of leaves; a slot that was named as if it were one has a better way."""
    try:
        return prove_ties(reader, leaves, keep=keep, progress=progress)
    except DriftedPairError as error:
        if not tells_of_state(planned.tie.alias.keys for planned in leaves.added):
            raise
        raise DriftedPairError(
            error.message,
            "What an optimizer keeps is merged, not compared, where it goes along with its leaves: "
            "tie those, or name their checkpoint with --params.",
            *error.hints,
        ) from error


def _add_notices(report: ApplyReport, notices: Iterable[str]) -> ApplyReport:
    return replace(report, notices=(*report.notices, *notices))


def _change_config(reader: CheckpointReader, plan: Plan, target: Target | None) -> ConfigChange:
    """Decides what becomes of `config.json`."""
    text = reader.text(CONFIG)
    if text is None:
        return ConfigChange(None, "")
    pairs = [
        (planned.tie.alias.spelling, planned.tie.canonical) for planned in plan.added if planned.tie.transform.is_same
    ]
    change = plan_config_change(text, tied=pairs, stored=[path.spelling for path in plan.kept])
    if change.text is None or target is None or carries_texts(reader):
        return change
    if target.in_place:
        raise InPlaceError(
            f"`{CONFIG}` beside `{reader.root}` says that nothing is tied, and would be left saying so",
            f"Give the directory, so that both change at once: `tiecli tie {reader.root.parent} … --in-place`.",
        )
    names = ", ".join(f"`{alias}`" for alias, _ in pairs)
    reason = "not part of a single-file output; the one beside it must say that the weights are tied"
    return ConfigChange(None, f"{CONFIG} is {reason}, or transformers fills {names} with random numbers")


def _report(
    reader: CheckpointReader, plan: Plan, proven: Sequence[ProvenTie], change: ConfigChange, shared: Collection[KeyPath]
) -> ApplyReport:
    ties = tuple(
        ReportedTie(
            tie.record.tie.alias.spelling,
            tie.record.tie.canonical,
            tie.record.tie.transform,
            tie.record.alias_spec,
            tie.also_fits,
            tie.drift,
            mode="alias" if tie.record.tie.alias in shared else "omit",
        )
        for tie in proven
    )
    notices = _word_modes(reader, plan, shared) if reader.format == "orbax" else _word_strangers(ties)
    return report_plan("tie", reader, plan, ties, change.reason, notices)


def _word_modes(reader: CheckpointReader, plan: Plan, shared: Collection[KeyPath]) -> list[str]:
    """Says what a restore with stock Orbax will find."""
    notices = []
    if shared:
        notices.append("mode alias: both names stay, on the same stored bytes, so restore with the target you have")
    omitted = [planned.tie.alias for planned in plan.added if planned.tie.alias not in shared]
    emptied = find_emptied((*reader.specs(), *(path for path, _ in reader.other_nodes)), omitted)
    gone = [path.spelling for path in omitted if path not in emptied]
    if gone:
        names = list_names(gone)
        notices.append(f"mode omit: restore with a target without {names}; one that still has it is refused by Orbax")
    if emptied:
        names = list_names([path.spelling for path in omitted if path in emptied])
        notices.append(
            f"mode omit: a None stays in the place of {names}, since an element of a list has nothing else;"
            " a target that still has the leaf gets None from Orbax, and no error"
        )
    return notices


def _word_strangers(ties: Sequence[ReportedTie]) -> list[str]:
    """Says which leaves stock safetensors loaders will miss."""
    strange = [tie.alias for tie in ties if not tie.transform.is_same]
    if not strange:
        return []
    names = list_names(strange)
    return [f"stock loaders will report {names} missing until `tiecli untie`: they know no transforms"]
