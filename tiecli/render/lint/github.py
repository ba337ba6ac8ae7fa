"""Lint as GitHub annotations: workflow commands, the worst first, no more than GitHub shows."""

from __future__ import annotations

from collections import Counter

from tiecli.lint.report import LintReport, ReportedFinding
from tiecli.lint.rule import SEVERITIES, Severity
from tiecli.render.lines import count_of, escape
from tiecli.render.lint.text import sum_up

# Source: GitHub's documentation of workflow commands: more a step vanish without a word.
_MOST: dict[str, int] = {"error": 10, "warning": 10, "notice": 10}
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def render_github(report: LintReport) -> str:
    """Gives one workflow command a finding, and a last one that sums up and says how many were cut."""
    shown = Counter[str]()
    cut = Counter[str]()
    # The sum is a notice of its own, and failures are errors.
    most = {**_MOST, "notice": _MOST["notice"] - 1}
    lines: list[str] = []
    for failure in report.failures:
        what = f"{failure.code} could not run: " if failure.code else "could not be linted: "
        if shown["error"] < most["error"]:
            lines.append(_command("error", "tiecli", failure.path, what + failure.message))
            shown["error"] += 1
        else:
            cut["error"] += 1
    for finding in sorted(report.findings, key=lambda it: SEVERITIES.index(it.severity)):
        level = _LEVELS[finding.severity]
        if shown[level] < most[level]:
            lines.append(_annotate(finding, level))
            shown[level] += 1
        else:
            cut[level] += 1
    summary = sum_up(report)
    if cut:
        parts = " and ".join(count_of(count, level) for level, count in cut.items())
        summary += f" {parts} not shown here: GitHub shows no more than 10 of a kind."
    return "".join(text + "\n" for text in (*lines, _command("notice", "tiecli", "", summary)))


def _annotate(finding: ReportedFinding, level: str) -> str:
    message = finding.message
    if finding.fix is not None:
        message += f" Fix: {finding.fix.summary}."
    if finding.hint:
        message += f" {finding.hint}"
    return _command(level, f"tiecli {finding.code} {finding.name}", finding.path, message)


def _command(level: str, title: str, file: str, message: str) -> str:
    where = f",file={_escape_property(file)}" if file else ""
    return f"::{level} title={_escape_property(title)}{where}::{_escape_data(message)}"


def _escape_data(text: str) -> str:
    """Escapes as GitHub reads it back; other control characters are spelled out."""
    return "%0A".join(escape(part.replace("%", "%25")) for part in text.split("\n"))


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
