"""Fixing: carries out the fixes of one checkpoint, round by round, until none is left that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tiecli.checkpoints.mending.drafts import Draft, draft_paths
from tiecli.checkpoints.mending.publishing import Mending
from tiecli.checkpoints.mending.shards import draft_shards
from tiecli.checkpoints.mending.sources import Sources
from tiecli.checkpoints.protocol import Progress, Target, ignore_progress
from tiecli.checkpoints.storedfile import reading
from tiecli.checkpoints.survey.safetensors import survey_safetensors
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import (
    CheckpointError,
    FixError,
    ProofError,
    SourceChangedError,
    TiecliError,
    UnreadableFileError,
    UsageError,
)
from tiecli.linting.describing import describe_edit
from tiecli.linting.edits import TieLeaves, UntieLeaf
from tiecli.linting.report import AppliedFix
from tiecli.linting.rule import Finding, Fix
from tiecli.plan import TieRequest
from tiecli.transforms import Transform
from tiecli.verbs.gathering import CodedFix, gather_changes, group_fixes
from tiecli.verbs.tie import tie
from tiecli.verbs.untie import untie

ROUNDS = 10
"""Fixes may lay bare what others mend; a checkpoint that is not done by then is left to a person."""

_PATIENCE = 100
_REFUSALS = (FixError, ProofError, UsageError, CheckpointError)


@dataclass
class Mended:
    """What came of the fixes of one checkpoint.

    Attributes:
        unit: The checkpoint, whose files may have other names by now.
        done: What was carried out, in order.
        refused: Fixes that could not be carried out, and why, one line each.
        notices: What the person at the terminal should know.
        failure: What ended it before its time; what was applied until then stays.
    """

    unit: Unit
    done: list[CodedFix] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    failure: TiecliError | None = None

    def refuse(self, coded: CodedFix, error: TiecliError) -> None:
        """Notes why a fix is not carried out."""
        self.refused.append(f"{coded[0]}: {coded[1].summary}: {error.message}")

    @property
    def applied(self) -> tuple[AppliedFix, ...]:
        """What was carried out, in words."""
        return tuple(describe_fix(self.unit, *coded) for coded in self.done)


def mend_all(
    lint_again: Callable[[Unit], Sequence[tuple[str, Finding]]],
    unit: Unit,
    *,
    unsafe: bool = False,
    sync: bool = True,
    progress: Progress = ignore_progress,
) -> Mended:
    """Carries out fixes, lints again, and goes on while there are fixes and something changes.

    Args:
        lint_again: Gives the findings of a checkpoint as it is then, with their rules' codes.
        unit: The checkpoint.
        unsafe: Whether fixes are carried out that choose between two meanings.
        sync: Wait until all is on the disk.
        progress: Told of every piece written.
    """
    mended = Mended(unit)
    for _ in range(ROUNDS):
        fixes = _leave_out_circles(choose_fixes(lint_again(mended.unit), unsafe=unsafe), mended.done)
        done, mended.refused = len(mended.done), []
        try:
            mend_round(mended, fixes, sync=sync, progress=progress)
        except TiecliError as error:
            mended.failure = error
            break
        if len(mended.done) == done:
            break
    return mended


def mend(unit: Unit, fixes: Sequence[CodedFix], *, sync: bool = True) -> tuple[AppliedFix, ...]:
    """Carries out fixes of one checkpoint, each whole or not at all; of those that contradict each other, the first.

    Args:
        unit: The checkpoint, damaged or not.
        fixes: Rules' codes, and fixes for what they found in it.
        sync: Wait until all is on the disk.

    Returns:
        Those that were carried out; the others may be in another round.

    Raises:
        SourceChangedError: Something changed the checkpoint meanwhile.
        InPlaceError: A symbolic link would have to be replaced, or the directory cannot be.
        TargetError: The system refuses to write.
    """
    mended = Mended(unit)
    mend_round(mended, fixes, sync=sync)
    return mended.applied


def plan_fixes(unit: Unit, fixes: Sequence[CodedFix]) -> tuple[AppliedFix, ...]:
    """Says what `mend` would carry out, as far as that shows before ties are proved; nothing is written."""
    mended, planned = Mended(unit), list[AppliedFix]()
    for group in group_fixes(unit, fixes):
        with Sources(unit.directory) as sources:
            chosen, _ = _draft(mended, group, sources)
            planned += [describe_fix(unit, *coded) for coded in chosen]
    return tuple(planned)


def choose_fixes(found: Sequence[tuple[str, Finding]], *, unsafe: bool) -> list[CodedFix]:
    """Chooses the fixes that may be carried out, each once; safe ones come first, and so win."""
    fixes = [(code, it.fix) for code, it in found if it.fix is not None and (unsafe or it.fix.safe)]
    return sorted(dict.fromkeys(fixes), key=lambda coded: not coded[1].safe)


def _leave_out_circles(fixes: Sequence[CodedFix], done: Sequence[CodedFix]) -> list[CodedFix]:
    """Leaves out what was carried out already and did not help, and ties that rules of two minds make and undo."""
    edits = _list_ties(done)
    tied = {edit.alias for edit in edits if isinstance(edit, TieLeaves)}
    untied = {edit.alias for edit in edits if isinstance(edit, UntieLeaf)}
    carried_out = set(done)
    return [
        coded
        for coded in fixes
        if coded not in carried_out
        and not any(edit.alias in (untied if isinstance(edit, TieLeaves) else tied) for edit in _list_ties([coded]))
    ]


def describe_fix(unit: Unit, code: str, fix: Fix) -> AppliedFix:
    """Words a fix: what it comes to, and each of its changes."""
    return AppliedFix(str(unit.root), code, fix.summary, tuple(map(describe_edit, fix.edits)))


def mend_round(mended: Mended, fixes: Sequence[CodedFix], *, sync: bool, progress: Progress = ignore_progress) -> None:
    """Carries out all fixes that can be carried out together, and adds what came of it to `mended`.

    Raises:
        SourceChangedError: As for `mend`.
        TargetError: As for `mend`.
    """

    def finish(batch: Sequence[CodedFix]) -> None:
        """Ties and unties what is left to be tied and untied."""
        _tie(mended, batch, Target(mended.unit.root, in_place=True, sync=sync))
        mended.done += batch

    for group in group_fixes(mended.unit, fixes):
        with Sources(mended.unit.directory) as sources:
            chosen, draft = _draft(mended, group, sources)
            mending = Mending(draft, sources, sync=sync, progress=progress)
            mending.publish()
        mended.notices += mending.notices
        mended.unit = _follow(mended.unit, draft)
        mended.done += [coded for coded in chosen if not _list_ties([coded])]
        # Ties are proved and written together, and undone one by one.
        _settle(mended, [coded for coded in chosen if _list_ties([coded]) and not _unties(coded)], finish)
        for coded in chosen:
            if _unties(coded):
                _settle(mended, [coded], finish)


def _draft(mended: Mended, fixes: Sequence[CodedFix], sources: Sources) -> tuple[list[CodedFix], Draft]:
    """Drafts the checkpoint with all fixes that go together; notes why the others do not."""
    unit = mended.unit
    survey = survey_safetensors(unit) if unit.format == "safetensors" else None
    chosen: list[CodedFix] = []
    drafts = [Draft(unit.directory)]

    def prove(batch: Sequence[CodedFix]) -> None:
        """Proves ties of fixes that do more: all of such a fix hangs on them, so nothing is written before."""
        _tie(mended, [coded for coded in batch if len(_list_ties([coded])) < len(coded[1].edits)], None)

    def add(batch: Sequence[CodedFix]) -> None:
        """Drafts the checkpoint with more fixes."""
        with reading(str(unit.root)):
            changes, _ = gather_changes(unit, [*chosen, *batch])
            drafts.append(draft_paths(sources, changes) if survey is None else draft_shards(survey, sources, changes))
        chosen.extend(batch)

    with reading(str(unit.root)):
        _, contradicting = gather_changes(unit, fixes)
    for coded, error in contradicting:
        mended.refuse(coded, error)
    left = {coded for coded, _ in contradicting}
    _settle(mended, _settle(mended, [coded for coded in fixes if coded not in left], prove), add)
    return chosen, drafts[-1]


def _settle(mended: Mended, fixes: Sequence[CodedFix], act: Callable[[Sequence[CodedFix]], None]) -> Sequence[CodedFix]:
    """Acts on all fixes together; where that is refused, on halves, so that only those are left out that must be."""
    batches = [fixes] if fixes else []
    settled: list[CodedFix] = []
    start = len(mended.refused)
    while batches and len(mended.refused) < start + _PATIENCE:
        batch = batches.pop()
        try:
            act(batch)
            settled += batch
        except (SourceChangedError, UnreadableFileError):
            raise
        except _REFUSALS as error:
            if len(batch) == 1:
                mended.refuse(batch[0], error)
            else:
                half = len(batch) // 2
                batches += [batch[half:], batch[:half]]
    return settled


def _list_ties(fixes: Sequence[CodedFix]) -> list[TieLeaves | UntieLeaf]:
    return [edit for _, fix in fixes for edit in fix.edits if isinstance(edit, TieLeaves | UntieLeaf)]


def _unties(coded: CodedFix) -> bool:
    return any(isinstance(edit, UntieLeaf) for edit in coded[1].edits)


def _tie(mended: Mended, fixes: Sequence[CodedFix], target: Target | None) -> None:
    """Ties and unties, as the verbs of these names do; without a target, only proves that it can be done."""
    root, edits = mended.unit.root, _list_ties(fixes)
    requests = [
        TieRequest(edit.canonical, edit.alias, Transform.parse(edit.transform))
        for edit in edits
        if isinstance(edit, TieLeaves)
    ]
    with reading(str(root)):
        reports = [tie(root, requests, target)] if requests else []
        reports += [untie(root, target, select=edit.alias) for edit in edits if isinstance(edit, UntieLeaf)]
    mended.notices += [notice for report in reports for notice in report.notices if target is not None]


def _follow(unit: Unit, draft: Draft) -> Unit:
    """Names the checkpoint as it is called once files have other names."""

    def name(file: str) -> str:
        """Gives the name that a file has now."""
        return draft.moved.get(file, file)

    root = unit.root if unit.root == unit.directory else unit.root.with_name(name(unit.root.name))
    index = None if unit.index_name is None else name(unit.index_name)
    return unit._replace(root=root, files=tuple(map(name, unit.files)), index_name=index)
