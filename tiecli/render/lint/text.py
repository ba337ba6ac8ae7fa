"""Lint as text: each finding with its message and what to do, then one line that sums up."""

from __future__ import annotations

from collections import Counter

from tiecli.lint.registry import find_rule
from tiecli.lint.report import LintFailure, LintReport, ReportedFinding, Unchecked
from tiecli.lint.rule import SEVERITIES
from tiecli.render.lines import Line, count_of, line, plain_text

_STYLES = {"error": "error", "warning": "warning", "info": "hint"}
_MOST_LEAVES = 20


def lint_to_text(report: LintReport, *, full: bool = False) -> list[Line]:
    """Shows every finding, what could not be linted, what was mended, and the sum.

    Args:
        report: What was found.
        full: Also why each finding is bad, all of its leaves, and every rule that did not run.
    """
    lines: list[Line] = []
    for finding in report.findings:
        lines += _show_finding(finding, full=full)
    for failure in report.failures:
        lines += _show_failure(failure)
    for applied in report.fixes:
        verb = "would fix" if report.dry else "fixed"
        lines.append(line(f"{applied.checkpoint}: ", (verb, "good"), f" {applied.code}: {applied.summary}"))
        lines += [line(f"  {edit}") for edit in applied.edits]
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


def sum_up(report: LintReport) -> str:
    """Says in one line how much was looked at, what was found, and what was not checked."""
    counts = [count_of(report.count(severity), severity) for severity in SEVERITIES if report.count(severity)]
    counts = [text.replace("infos", "info") for text in counts] or ["nothing found"]
    safe = sum(finding.fix is not None and finding.fix.safe for finding in report.findings)
    unsafe = sum(finding.fix is not None and not finding.fix.safe for finding in report.findings)
    if safe:
        counts.append(f"{safe:,} fixable with --fix")
    if unsafe:
        counts.append(f"{unsafe:,} with --unsafe-fixes")
    if report.fixes:
        counts.append(f"{len(report.fixes):,} {'would be fixed' if report.dry else 'fixed'}")
    if report.suppressed:
        counts.append(f"{report.suppressed:,} held back by the baseline")
    if report.stale:
        counts.append(f"{count_of(report.stale, 'stale entry', 'stale entries')} in the baseline")
    if report.failures:
        counts.append(f"{len(report.failures):,} could not be linted")
    told = f"{count_of(len(report.checkpoints), 'checkpoint')}, {', '.join(counts)}."
    return f"{told} Not checked: {list_unchecked(report)}." if report.not_checked else told


def list_unchecked(report: LintReport) -> str:
    """Words which rules did not run, by what they lacked: "14 rules (needs data (--level data))"."""
    reasons = Counter[str]()
    codes: dict[str, set[str]] = {}
    for unchecked in report.not_checked:
        codes.setdefault(unchecked.reason, set()).add(unchecked.code)
        reasons[unchecked.reason] = max(reasons[unchecked.reason], len(unchecked.checkpoints))
    parts = []
    for reason, names in codes.items():
        where = "" if reasons[reason] == len(report.checkpoints) else f" for {count_of(reasons[reason], 'checkpoint')}"
        parts.append(f"{count_of(len(names), 'rule')}{where}: {reason}")
    return "; ".join(parts)


def _show_finding(finding: ReportedFinding, *, full: bool) -> list[Line]:
    mark = "" if finding.fix is None else " [fixable]" if finding.fix.safe else " [unsafe fix]"
    head = line(
        f"{finding.path}: ", (finding.severity, _STYLES[finding.severity]), f" {finding.code} {finding.name}", mark
    )
    lines = [head, line(f"  {finding.message}")]
    if full:
        rule = find_rule(finding.code)
        lines += [line((f"  {text}", "dim")) for text in rule.why.splitlines()]
        shown = finding.leaves[:_MOST_LEAVES]
        lines += [line(f"  - {leaf}") for leaf in shown]
        if len(finding.leaves) > len(shown):
            lines.append(line(f"  - and {len(finding.leaves) - len(shown):,} more"))
    if finding.fix is not None:
        lines.append(line(("  fix: ", "hint"), finding.fix.summary))
    if finding.hint:
        lines.append(line(("  hint: ", "hint"), finding.hint))
    return lines


def _show_failure(failure: LintFailure) -> list[Line]:
    where = f"{failure.path}: " if failure.path else ""
    what = f"could not run {failure.code}: " if failure.code else ""
    lines = [line(where, ("error", "error"), f": {what}{failure.message}")]
    return [*lines, line(("  hint: ", "hint"), failure.hint)] if failure.hint else lines


def _name_some(unchecked: Unchecked) -> str:
    first = unchecked.checkpoints[0] if unchecked.checkpoints else ""
    return first if len(unchecked.checkpoints) < 2 else f"{first} and {len(unchecked.checkpoints) - 1:,} more"
