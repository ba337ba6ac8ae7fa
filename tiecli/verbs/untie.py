"""Untying: every alias stored again, and the original file back where its record was kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiecli.apply import apply_plan
from tiecli.architectures import plan_config_change
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Target
from tiecli.compare import digest_leaf
from tiecli.declared import CONFIG, list_open_ties
from tiecli.plan import Plan, plan_untie
from tiecli.reports import ApplyReport, ReportedTie
from tiecli.ties import Tie, TieSet
from tiecli.verbs.tie import Tracker, track_nothing


def untie(
    checkpoint: str | Path, target: Target | None = None, *, select: str | None = None, track: Tracker = track_nothing
) -> ApplyReport:
    """Stores aliases again: those of a manifest, and those that metadata or a config declares.

    Args:
        checkpoint: A safetensors file, a Hugging Face directory, or any file of one.
        target: Where the result goes; None reports only.
        select: Key pattern of the aliases; None for all that tiecli tied, so that the
            original comes back, or, where it tied none, for all that are declared.
        track: Shows progress.

    Raises:
        NothingToUntieError: The checkpoint has no tie.
        LeafNotFoundError: The pattern matches no alias.
        CheckpointError: The source cannot be trusted or read.
        TargetError: The target cannot be written; nothing was published.
    """
    with open_reader(Path(checkpoint)) as reader:
        plan = plan_untie(reader.specs(), _list_candidates(reader, select), select)
        report = _report(reader, plan)
        if target is None:
            return report
        with track("writing", plan.bytes_after) as progress:
            commit = apply_plan(reader, plan, (), target, progress=progress)
        return replace(
            report, output=commit.target, restored=commit.restored, notices=(*report.notices, *commit.notices)
        )


def _list_candidates(reader: CheckpointReader, select: str | None) -> TieSet:
    manifest = reader.manifest()
    return manifest.ties if manifest is not None and select is None else list_open_ties(reader)


def _report(reader: CheckpointReader, plan: Plan) -> ApplyReport:
    ties = tuple(
        ReportedTie(
            planned.tie.alias.spelling,
            planned.tie.canonical,
            planned.tie.transform,
            planned.alias_spec,
            same_as_tied=_is_as_tied(reader, planned.tie),
        )
        for planned in plan.restored
    )
    notices = [
        f"`{tie.canonical}` changed since `{tie.alias}` was tied to it; `{tie.alias}` follows its present values"
        for tie in ties
        if tie.same_as_tied is False
    ]
    specs = reader.specs()
    return ApplyReport(
        verb="untie",
        checkpoint=reader.root,
        ties=ties,
        leaves_kept=len(plan.kept),
        bytes_kept=sum(specs[path].nbytes for path in plan.kept),
        bytes_before=plan.bytes_before,
        bytes_after=plan.bytes_after,
        config=_describe_config(reader, plan),
        notices=tuple(notices),
    )


def _describe_config(reader: CheckpointReader, plan: Plan) -> str:
    """Words what the config will say of leaves that are stored again without a record of what it was."""
    text = reader.text(CONFIG)
    if text is None or reader.manifest() is not None:
        return ""
    pairs = [(planned.tie.alias.spelling, planned.tie.canonical) for planned in plan.restored]
    return plan_config_change(text, tied=(), untied=pairs).reason


def _is_as_tied(reader: CheckpointReader, tie: Tie) -> bool | None:
    """Says whether the canonical leaves still have the bytes that the manifest recorded."""
    manifest = reader.manifest()
    for record in manifest.records if manifest else ():
        if record.tie == tie:
            found = tuple(digest_leaf(reader, path) for path in tie.canonicals)
            return record.exact and found == record.canonical_digests
    return None
