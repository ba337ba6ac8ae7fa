"""Lint as text: each finding with its message and what to do, then one line that sums up."""

from __future__ import annotations

from tiecli.linting.registry import find_rule
from tiecli.linting.report import AppliedFix, LintFailure, LintReport, ReportedFinding, Unchecked
from tiecli.render.lines import Line, line, plain_text
from tiecli.render.lint.wording import sum_up

_STYLES = {"error": "error", "warning": "warning", "info": "hint"}
_MOST_LEAVES = 20


def lint_to_text(report: LintReport, *, full: bool = False) -> list[Line]:
    """Shows every finding, what could not be linted, what was mended, and the sum.

    Args:
        report: What was found.
        full: Also why each finding is bad, all of its leaves, and every rule that did not run.
    """
    lines: list[Line] = []
    explained: set[str] = set()
    for finding in report.findings:
        lines += _show_finding(finding, full=full, explain=full and finding.code not in explained)
        explained.add(finding.code)
    for applied in report.fixes:
        lines += _show_fix(applied, dry=report.dry)
    for failure in report.failures:
        lines += _show_failure(failure)
    if full and report.not_checked:
        lines += [line()] * bool(lines)
        lines += [
            line(("not checked", "dim"), f" {unchecked.code}: {unchecked.reason} ({_name_some(unchecked)})")
            for unchecked in report.not_checked
        ]
    return [*lines, *[line()] * bool(lines), line((sum_up(report), "title"))]


def render_text(report: LintReport) -> str:
    """Gives the same as plain text."""
    return plain_text(lint_to_text(report))


def render_full(report: LintReport) -> str:
    """Gives the long form as plain text."""
    return plain_text(lint_to_text(report, full=True))


def _show_finding(finding: ReportedFinding, *, full: bool, explain: bool) -> list[Line]:
    mark = "" if finding.fix is None else " [fixable]" if finding.fix.safe else " [unsafe fix]"
    severity = (finding.severity, _STYLES[finding.severity])
    lines = [line(f"{finding.path}: ", severity, f" {finding.code} {finding.name}", (mark, "good"))]
    lines.append(line(f"  {finding.message}"))
    if explain:
        lines += [line((f"  {text}", "dim")) for text in find_rule(finding.code).why.splitlines()]
    if full:
        shown = finding.leaves[:_MOST_LEAVES]
        lines += [line(f"  - {leaf}") for leaf in shown]
        if len(finding.leaves) > len(shown):
            lines.append(line(f"  - and {len(finding.leaves) - len(shown):,} more"))
    if finding.fix is not None:
        lines.append(line(("  fix: ", "hint"), finding.fix.summary))
    if finding.hint:
        lines.append(line(("  hint: ", "hint"), finding.hint))
    return lines


def _show_fix(applied: AppliedFix, *, dry: bool) -> list[Line]:
    verb = ("would fix" if dry else "fixed", "good")
    head = line(f"{applied.checkpoint}: ", verb, f" {applied.code}: {applied.summary}")
    return [head, *(line(f"  {edit}") for edit in applied.edits)]


def _show_failure(failure: LintFailure) -> list[Line]:
    where = f"{failure.path}: " if failure.path else ""
    what = f"could not run {failure.code}: " if failure.code else ""
    lines = [line(where, ("error", "error"), f": {what}{failure.message}")]
    return [*lines, line(("  hint: ", "hint"), failure.hint)] if failure.hint else lines


def _name_some(unchecked: Unchecked) -> str:
    first = unchecked.checkpoints[0] if unchecked.checkpoints else ""
    return first if len(unchecked.checkpoints) < 2 else f"{first} and {len(unchecked.checkpoints) - 1:,} more"
