"""Rendering what verifying found: as text, as JSON."""

from __future__ import annotations

import math

from tiecli.render.lines import Line, Span, align_columns, count_of, line
from tiecli.verification.verdicts import (
    GradientMeasure,
    LossCheck,
    TieVerdict,
    Trajectory,
    Verdict,
    VerifyReport,
)

SCHEMA = "tiecli.verify/1"

_STYLES: dict[Verdict, str] = {
    "PASS": "good",
    "NOT APPLICABLE": "good",
    "VACUOUS": "warning",
    "AMBIGUOUS": "warning",
    "FAIL": "error",
    "REJECT": "error",
}


def verify_to_text(report: VerifyReport) -> list[Line]:
    """Shows one row a tie, what is wrong below, and the verdict for the whole last."""
    against = f" against {report.original}" if report.original else ""
    where = f" on {report.device}" if report.device else ""
    head = [line((str(report.checkpoint), "title"), f"{against}{where}"), line()]
    rows: list[list[str | Span]] = [[(name, "label") for name in _heading(report)]]
    rows += [_row(tie, probed=any(tie.probe for tie in report.ties)) for tie in report.ties]
    body = [*head, *align_columns(rows, gap=3)]
    reasons = _reasons(report)
    if reasons:
        body += [line(), *reasons]
    body += _losses_to_text(report.losses)
    if report.trajectory is not None:
        body += [line(), _trajectory_to_text(report.trajectory)]
        body += [line(("note:", "label"), f" {note}") for note in report.trajectory.notes]
    return [*body, line(), *_conclusion(report)]


def _heading(report: VerifyReport) -> list[str]:
    names = ["verdict", "alias", "canonical", "transform", "bytes", "ulp"]
    return names + ["probe error / bound", "|g_src|", "|g_dst|"] * any(tie.probe for tie in report.ties)


def _row(tie: TieVerdict, *, probed: bool) -> list[str | Span]:
    row: list[str | Span] = [
        (tie.judgement.verdict, _STYLES[tie.judgement.verdict]),
        (tie.alias, "tie"),
        tie.canonical,
        tie.transform,
        tie.bytes_state,
        "" if tie.max_ulp is None else f"{tie.max_ulp:,}",
    ]
    if probed and tie.probe is not None:
        probe = tie.probe
        row += [f"{probe.error:.1e} / {probe.bound:.1e}", f"{probe.src_norm:.4g}", f"{probe.dst_norm:.4g}"]
    elif probed:
        row += ["", "", ""]
    return row


def _reasons(report: VerifyReport) -> list[Line]:
    lines: list[Line] = []
    for tie in report.ties:
        style = _STYLES[tie.judgement.verdict]
        if tie.judgement.reason:
            lines.append(line((tie.judgement.verdict, style), f" {tie.alias}: {tie.judgement.reason}"))
        lines += [line(("note:", "label"), f" {tie.alias}: {note}") for note in tie.notes]
    shown = report.others.differing[:10]
    lines += [line(("FAIL", "error"), f" `{name}` is not tied and not the original's") for name in shown]
    if len(report.others.differing) > len(shown):
        lines.append(line(f"… and {len(report.others.differing) - len(shown):,} more"))
    return lines


def _losses_to_text(losses: tuple[LossCheck, ...]) -> list[Line]:
    rows: list[list[str | Span]] = []
    for check in losses:
        what = check.name if check.kind == "loss" else f"{check.name} (reference)"
        rows.append([what, check.point, f"{check.loss_tied:.8g} tied, {check.loss_other:.8g} otherwise"])
    return [line(), *align_columns(rows, gap=3)] if rows else []


def _trajectory_to_text(trajectory: Trajectory) -> Line:
    tied, naive = max(trajectory.tied_apart, default=0.0), max(trajectory.naive_apart, default=0.0)
    steps = count_of(trajectory.steps, f"{trajectory.optimizer} step")
    told = f" of {trajectory.loss}: tied and summed gradients stay within {tied:.1e}; untied ones drift by {naive:.1e}"
    return line((steps, "label"), told)


def _conclusion(report: VerifyReport) -> list[Line]:
    lines: list[Line] = []
    if report.others.compared and not report.others.differing:
        lines.append(line(f"{report.others.compared:,} other leaves are byte for byte the original's."))
    verdict = report.judgement.verdict
    if report.passed:
        lines.append(line(("passed", "good"), f": {count_of(len(report.ties), 'tie')}{_allowed(report)}"))
        return lines
    counts: dict[str, int] = {}
    for tie in report.ties:
        counts[tie.judgement.verdict] = counts.get(tie.judgement.verdict, 0) + 1
    bad = ", ".join(
        f"{count} {name.lower()}" for name, count in counts.items() if name not in ("PASS", "NOT APPLICABLE")
    )
    lines.append(line(("not passed", "error"), f": {bad or report.judgement.reason}"))
    if verdict == "AMBIGUOUS":
        lines.append(
            line(("hint:", "hint"), " State the transform with --allow ambiguous, or settle it with --reference-loss.")
        )
    return lines


def _allowed(report: VerifyReport) -> str:
    taken = [tie for tie in report.ties if tie.judgement.verdict in report.allowed]
    return f", {len(taken)} of them allowed though {taken[0].judgement.verdict.lower()}" if taken else ""


def verify_to_json(report: VerifyReport) -> dict[str, object]:
    """Gives the report as data; see docs/schemas/verify.schema.json."""
    return {
        "schema": SCHEMA,
        "checkpoint": str(report.checkpoint),
        "original": None if report.original is None else str(report.original),
        "device": report.device,
        "verdict": report.judgement.verdict,
        "reason": report.judgement.reason,
        "passed": report.passed,
        "allowed": list(report.allowed),
        "ties": [_tie_to_json(tie) for tie in report.ties],
        "others": {"compared": report.others.compared, "differing": list(report.others.differing)},
        "losses": [_loss_to_json(check) for check in report.losses],
        "trajectory": None if report.trajectory is None else _trajectory_to_json(report.trajectory),
    }


def _tie_to_json(tie: TieVerdict) -> dict[str, object]:
    return {
        "alias": tie.alias,
        "canonical": tie.canonical,
        "transform": tie.transform,
        "shape": list(tie.spec.shape),
        "dtype": tie.spec.dtype.name,
        "verdict": tie.judgement.verdict,
        "reason": tie.judgement.reason,
        "bytes": tie.bytes_state,
        "fits": list(tie.fits),
        "differing": tie.differing,
        "max_ulp": tie.max_ulp,
        "worst": None if tie.worst is None else list(tie.worst),
        **_measure_to_json(tie.probe),
        "notes": list(tie.notes),
    }


def _measure_to_json(measure: GradientMeasure | None) -> dict[str, object]:
    return {
        "probe_error": None if measure is None else _number(measure.error),
        "probe_bound": None if measure is None else _number(measure.bound),
        "grad_src_norm": None if measure is None else _number(measure.src_norm),
        "grad_dst_norm": None if measure is None else _number(measure.dst_norm),
    }


def _number(value: float) -> float | None:
    # JSON knows neither NaN nor infinity.
    return value if math.isfinite(value) else None


def _loss_to_json(check: LossCheck) -> dict[str, object]:
    measures = dict(check.measures)
    return {
        "name": check.name,
        "kind": check.kind,
        "point": check.point,
        "loss_tied": _number(check.loss_tied),
        "loss_other": _number(check.loss_other),
        "ties": [
            {
                "alias": alias,
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                **_measure_to_json(measures.get(alias)),
            }
            for alias, judgement in check.judgements
        ],
    }


def _trajectory_to_json(trajectory: Trajectory) -> dict[str, object]:
    return {
        "optimizer": trajectory.optimizer,
        "loss": trajectory.loss,
        "steps": trajectory.steps,
        "tied_apart": list(map(_number, trajectory.tied_apart)),
        "naive_apart": list(map(_number, trajectory.naive_apart)),
        "holds": trajectory.holds,
        "notes": list(trajectory.notes),
    }
