"""Untying: every alias stored again, and the original file back where its record was kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from tiecli.apply import apply_plan, is_as_tied
from tiecli.architectures import plan_config_change
from tiecli.checkpoints import check_rewritable, open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Selection, Target, Tracker, track_nothing
from tiecli.compare import compare_leaf
from tiecli.declared import CONFIG, list_open_ties, list_shared
from tiecli.keypaths import KeyPath
from tiecli.moments import RestoredState
from tiecli.plan import Plan, plan_untie
from tiecli.reports import ApplyReport, ReportedTie, report_plan
from tiecli.ties import TieSet
from tiecli.verbs.effects import word_parted
from tiecli.verbs.elsewhere import word_state_to_untie
from tiecli.verbs.restoring import report_restored, restore_state, word_restored


def untie(
    checkpoint: str | Path,
    target: Target | None = None,
    *,
    select: str | None = None,
    step: int | None = None,
    item: str | None = None,
    track: Tracker = track_nothing,
) -> ApplyReport:
    """Stores aliases again: those of a manifest, and those that metadata or a config declares.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, an Orbax checkpoint, or any file of one.
        target: Where the result goes; None reports only.
        select: Key pattern of the aliases; None for all that tiecli tied, so that the
            original comes back, or, where it tied none, for all that are declared.
        step: Of a root of steps, which one; None for the latest.
        item: Of a step, which item; None for the only one.
        track: Shows progress.

    Raises:
        NothingToUntieError: The checkpoint has no tie.
        LeafNotFoundError: The pattern matches no alias.
        CheckpointError: The source cannot be trusted or read.
        TargetError: The target cannot be written; nothing was published.
    """
    with open_reader(Path(checkpoint), Selection(step, item)) as reader:
        candidates, shared = _list_candidates(reader, select), list_shared(reader)
        own, specs = _list_own(reader, candidates, shared), reader.specs()
        plan = plan_untie(specs, candidates, select, shared, own)
        state = restore_state(reader, plan)
        if state.along or state.copied:
            candidates = TieSet((*candidates, *(slot.tie for slot in state.copied)))
            along = {*state.along, *(slot.alias for slot in state.copied)}
            plan = plan_untie(specs, candidates, select, shared, own, along)
        check_rewritable(reader)
        report = _report(reader, plan, state)
        if target is None:
            return report
        with track("writing", plan.bytes_after) as progress:
            commit = apply_plan(reader, plan, (), target, progress=progress)
        return replace(
            report, output=commit.target, restored=commit.restored, notices=(*report.notices, *commit.notices)
        )


def _list_candidates(reader: CheckpointReader, select: str | None) -> TieSet:
    manifest = reader.manifest()
    if manifest is None:
        return list_open_ties(reader)
    if select is None:
        return manifest.ties
    # A copy that made files of links has aliases with bytes of their own; their ties can end too.
    ties = manifest.ties.by_alias
    return TieSet((*ties.values(), *(tie for tie in list_open_ties(reader) if tie.alias not in ties)))


def _list_own(reader: CheckpointReader, ties: TieSet, shared: Collection[KeyPath]) -> frozenset[KeyPath]:
    """Lists aliases that somebody stored anew with other values: those must not be lost."""
    specs = reader.specs()
    ties.check_roots(specs)
    return frozenset(
        tie.alias
        for tie in ties
        if tie.alias in specs
        and tie.alias not in shared
        and (
            tie.transform.spec([specs[path] for path in tie.canonicals]) != specs[tie.alias]
            or not compare_leaf(reader, tie.alias, reader, tie.canonicals, tie.transform, measure=False).equal
        )
    )


def _report(reader: CheckpointReader, plan: Plan, state: RestoredState) -> ApplyReport:
    ties, notices = [], []
    manifest = reader.manifest()
    recorded = manifest.by_alias if manifest else {}
    slots = report_restored(reader, plan, state)
    of_state = {slot.alias for slot in slots}
    for planned in plan.restored:
        if planned.tie.alias.spelling in of_state:
            continue
        tie, record = planned.tie, recorded.get(planned.tie.alias)
        alias, as_tied = tie.alias.spelling, None if record is None else is_as_tied(reader, record)
        ties.append(ReportedTie(alias, tie.canonical, tie.transform, planned.alias_spec, same_as_tied=as_tied))
        if record is not None and not record.exact:
            notices.append(
                f"the values of `{alias}` were given up by --keep; it comes back as `{tie.canonical}` has it"
            )
        elif as_tied is False:
            notices.append(
                f"`{tie.canonical}` changed since `{alias}` was tied to it; `{alias}` follows its present values"
            )
    ended = recorded.keys() - {tie.alias for tie in plan.ties} - {planned.tie.alias for planned in plan.restored}
    notices += [
        f"`{path.spelling}` was stored anew since it was tied; it keeps the values it has"
        for path in plan.kept
        if path in ended
    ]
    notices += word_restored(state)
    parted = [planned.tie for planned in plan.restored if planned.tie.alias.spelling not in of_state]
    notices += word_parted(parted) if slots else word_state_to_untie(reader, parted)
    report = report_plan("untie", reader, plan, ties, _describe_config(reader, plan), notices)
    return replace(report, slots=slots)


def _describe_config(reader: CheckpointReader, plan: Plan) -> str:
    """Words what the config will say of leaves that are stored again without a record of what it was."""
    text = reader.text(CONFIG)
    if text is None or reader.manifest() is not None:
        return ""
    pairs = [(planned.tie.alias.spelling, planned.tie.canonical) for planned in plan.restored]
    return plan_config_change(text, tied=(), untied=pairs).reason
