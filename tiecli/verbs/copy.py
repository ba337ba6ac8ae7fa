"""Copying: values of one checkpoint put in the place of another's, without a tie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tiecli.checkpoints import check_rewritable, check_target, open_reader
from tiecli.checkpoints.protocol import Selection, Target, Tracker, track_nothing
from tiecli.copies import CopyPlan, CopyReport, CopyRequest, plan_copy, report_copy, write_copies
from tiecli.declared import list_open_ties, list_shared
from tiecli.errors import CopyError

_LISTED = 5


def copy(
    source: str | Path,
    destination: str | Path,
    requests: Sequence[CopyRequest] = (),
    target: Target | None = None,
    *,
    strict: bool = False,
    source_selection: Selection = Selection(),
    selection: Selection = Selection(),
    track: Tracker = track_nothing,
) -> CopyReport:
    """Copies values from one checkpoint into another, or within one; no tie is recorded.

    Args:
        source: Where values come from: safetensors or Orbax.
        destination: Where they go; a checkpoint of either format, which may be the same one.
        requests: What to copy to what, by name or pattern, under a transform; none for every
            leaf that both have by name.
        target: Where the result goes: the destination with its new values. None reports only.
        strict: Refuse where a leaf of either side is left over, or does not fit.
        source_selection: Step and item of the source.
        selection: Step and item of the destination.
        track: Shows progress.

    Raises:
        UsageError: A request names no leaf, does not pair up or fit, or contradicts another.
        CopyError: Nothing is to be copied, or `strict` and something is left over.
        CheckpointError: A checkpoint cannot be trusted or read.
        TargetError: The target cannot be written; nothing was published.
    """
    with open_reader(Path(source), source_selection) as giver, open_reader(Path(destination), selection) as taker:
        ties = list_open_ties(taker).by_alias
        manifest = taker.manifest()
        shared = list_shared(taker)
        follows = {
            **ties,
            **{path: tie for path, tie in (manifest.ties.by_alias if manifest else {}).items() if path in shared},
        }
        plan = plan_copy(giver.specs(), list_open_ties(giver), taker.specs(), follows, requests)
        _check(plan, strict=strict, by_name=not requests)
        changed = {it.dst for it in plan.copies}
        moved = tuple(alias.spelling for alias, tie in follows.items() if changed.intersection(tie.canonicals))
        report = report_copy(giver.root, taker.root, plan, moved, by_name=not requests)
        check_rewritable(taker)
        if target is not None:
            check_target(taker, target)
        if target is None:
            return report
        total = sum(spec.nbytes for spec in taker.specs().values())
        with track("writing", total) as progress:
            commit = write_copies(giver, taker, plan, target, progress)
        return replace(report, output=commit.target, notices=commit.notices)


def _check(plan: CopyPlan, *, strict: bool, by_name: bool) -> None:
    if not plan.copies:
        hint = "Pair leaves with --map 'DST=SRC'; `tiecli inspect` lists the names of both."
        if plan.mismatched:
            first = plan.mismatched[0]
            raise CopyError(
                f"no leaf fits: `{first.leaf.spelling}` is {first.found} there and {first.expected} here", hint
            )
        raise CopyError("the two checkpoints have no leaf in common by name", hint)
    if not strict:
        return
    left = {
        "of another shape or dtype": [it.leaf for it in plan.mismatched],
        "without a source": plan.missing if by_name else (),
        "copied nowhere": plan.extra if by_name else (),
    }
    for how, paths in left.items():
        if paths:
            names = ", ".join(f"`{path.spelling}`" for path in paths[:_LISTED])
            rest = f" and {len(paths) - _LISTED:,} more" if len(paths) > _LISTED else ""
            raise CopyError(f"--strict: {names}{rest} {how}", "Leave out --strict to copy what fits.")
