"""Lint as GitHub annotations: workflow commands, the worst first, no more than GitHub shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tiecli.linting.report import LintReport
from tiecli.linting.rule import SEVERITIES, Severity
from tiecli.render.lines import count_of, escape
from tiecli.render.lint.wording import sum_up, word_failure, word_finding

# Source: GitHub's documentation of workflow commands; what is more in one step vanishes without a word.
_MOST = 10
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def render_github(report: LintReport) -> str:
    """Gives one workflow command a finding, and a last one that sums up and says how many were cut."""
    shown = Counter[str]({"notice": 1})  # the last one
    cut = Counter[str]()
    lines: list[str] = []
    for level, command in _list_commands(report):
        if shown[level] < _MOST:
            lines.append(command)
        else:
            cut[level] += 1
        shown[level] += 1
    summary = sum_up(report)
    if cut:
        parts = " and ".join(count_of(count, level) for level, count in cut.items())
        summary += f" {parts} not shown here: GitHub shows no more than {_MOST} of a kind."
    return "".join(text + "\n" for text in (*lines, _command("notice", "tiecli", "", summary)))


def _list_commands(report: LintReport) -> Iterator[tuple[str, str]]:
    """Yields every command with its level, the worst first."""
    for failure in report.failures:
        yield "error", _command("error", "tiecli", failure.path, word_failure(failure))
    for finding in sorted(report.findings, key=lambda it: SEVERITIES.index(it.severity)):
        level = _LEVELS[finding.severity]
        title = f"tiecli {finding.code} {finding.name}"
        yield level, _command(level, title, finding.path, word_finding(finding))


def _command(level: str, title: str, file: str, message: str) -> str:
    where = f",file={_escape_property(file)}" if file else ""
    return f"::{level} title={_escape_property(title)}{where}::{_escape_data(message)}"


def _escape_data(text: str) -> str:
    """Escapes as GitHub reads it back; other control characters are spelled out."""
    return "%0A".join(escape(part.replace("%", "%25")) for part in text.split("\n"))


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
