"""Judging: puts every test of a tie together, and the ties into a report."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from tiecli.checkpoints.protocol import CheckpointReader, Progress
from tiecli.keypaths import spell_leaves
from tiecli.leaves import LeafSpec
from tiecli.manifest import TieRecord
from tiecli.ties import Tie
from tiecli.verification.ambiguity import find_fits
from tiecli.verification.statements import check_gradient, check_statement
from tiecli.verification.values import ValueCheck, check_alias
from tiecli.verification.verdicts import PASSING, Judgement, OtherLeaves, TieVerdict, Verdict, worst_of


@dataclass(frozen=True, slots=True)
class Case:
    """One tie, with all that there is to judge it by.

    Attributes:
        reader: The tied checkpoint.
        tie: What it states.
        record: What its manifest recorded; None for a tie that others declare.
        original: The checkpoint before it was tied, if that was given.
    """

    reader: CheckpointReader
    tie: Tie
    record: TieRecord | None
    original: CheckpointReader | None


def judge_bytes(case: Case, progress: Progress) -> TieVerdict:
    """Judges a tie by what is stated and by the bytes; gradients come later.

    Args:
        case: The tie.
        progress: Told the bytes compared.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    tie = case.tie
    stated = check_statement(case.reader, tie, case.record)
    found = TieVerdict(
        tie.alias.spelling, spell_leaves(tie.canonicals), str(tie.transform), _spec_of(case), stated, fits=()
    )
    if stated.verdict == "REJECT":
        return found
    values = check_alias(case.reader, tie, case.record, case.original, progress)
    found = replace(found, bytes_state=values.state, judgement=worst_of((stated, values.judgement)))
    found = _with_differences(found, values)
    if values.judgement.verdict != "PASS":
        return found
    fits = tuple(map(str, find_fits(case.reader, tie)))
    judgements = [found.judgement]
    # Without a gradient nothing ever moves the two apart: whichever is meant, the bytes are the same.
    if len(fits) > 1 and check_gradient(tie.transform, _sources_of(case)).verdict == "PASS":
        judgements.append(Judgement("AMBIGUOUS", f"the bytes fit {', '.join(fits)}"))
    return replace(found, fits=fits, judgement=worst_of(judgements))


def judge_slot(case: Case, progress: Progress) -> TieVerdict:
    """Judges what an optimizer keeps for an alias, which no gradient flows through: by its bytes.

    Args:
        case: The tie of two slots.
        progress: Told the bytes compared.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    tie, record = case.tie, case.record
    stated = check_statement(case.reader, tie, record)
    found = TieVerdict(
        tie.alias.spelling, spell_leaves(tie.canonicals), str(tie.transform), _spec_of(case), stated, fits=()
    )
    if stated.verdict not in PASSING or record is None:
        return found
    if not record.exact:
        what = "merged when it was tied" if record.slot == "merged" else "given up for that of the canonical leaf"
        return replace(found, judgement=Judgement("NOT APPLICABLE", f"optimizer state, {what}"))
    values = check_alias(case.reader, tie, record, case.original, progress)
    found = _with_differences(replace(found, bytes_state=values.state), values)
    holds = values.judgement.verdict in PASSING
    reason = Judgement("NOT APPLICABLE", "optimizer state: bytes only")
    return replace(found, judgement=reason if holds else values.judgement)


def _spec_of(case: Case) -> LeafSpec:
    """The alias's spec, from whoever knows it."""
    if case.record is not None:
        return case.record.alias_spec
    for reader in (case.original, case.reader):
        if reader is not None and case.tie.alias in reader.specs():
            return reader.specs()[case.tie.alias]
    return case.tie.transform.spec(_sources_of(case))


def _sources_of(case: Case) -> tuple[LeafSpec, ...]:
    """The specs of the canonical leaves."""
    specs = case.reader.specs()
    return tuple(specs[path] for path in case.tie.canonicals)


def _with_differences(found: TieVerdict, values: ValueCheck) -> TieVerdict:
    compared = values.comparison
    if compared is None or compared.equal:
        return replace(found, max_ulp=None if compared is None else 0)
    worst = compared.worst or compared.first
    return replace(found, differing=compared.differing, max_ulp=compared.max_ulp, worst=worst)


def conclude(ties: Iterable[TieVerdict], others: OtherLeaves, allowed: Collection[Verdict]) -> Judgement:
    """Gives the verdict for the whole: the worst of all, where what was allowed counts as passed.

    Args:
        ties: Every tie.
        others: The leaves that are not tied.
        allowed: Verdicts that were declared acceptable.
    """
    judgements = [
        Judgement(tie.judgement.verdict, f"`{tie.alias}`: {tie.judgement.reason}" if tie.judgement.reason else "")
        for tie in ties
        if tie.judgement.verdict not in allowed
    ]
    if others.differing:
        count = len(others.differing)
        judgements.append(Judgement("FAIL", f"{count:,} leaves that are not tied are not the original's"))
    return worst_of(judgements)
