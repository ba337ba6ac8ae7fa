"""Wording: what several formats say of a finding, of a failure, and of the whole run."""

from __future__ import annotations

from tiecli.linting.report import LintFailure, LintReport, ReportedFinding
from tiecli.linting.rule import SEVERITIES, Severity
from tiecli.render.lines import count_of

_PLURALS: dict[Severity, str] = {"error": "errors", "warning": "warnings", "info": "info"}


def word_finding(finding: ReportedFinding) -> str:
    """Says what was found, what would mend it, and what a person can do, in one paragraph."""
    fix = f"Fix: {finding.fix.summary}." if finding.fix is not None else ""
    return " ".join(part for part in (finding.message, fix, finding.hint) if part)


def word_failure(failure: LintFailure) -> str:
    """Says what could not be linted, in one paragraph."""
    what = f"could not run {failure.code}" if failure.code else "could not be linted"
    message = failure.message if failure.message.endswith(".") else f"{failure.message}."
    return f"{what}: {message} {failure.hint}".rstrip()


def sum_up(report: LintReport) -> str:
    """Says in one line how much was looked at, what was found, and what was not checked."""
    told = ", ".join([count_of(len(report.checkpoints), "checkpoint"), *_list_counts(report)]) + "."
    return f"{told} Not checked: {list_unchecked(report)}." if report.not_checked else told


def list_unchecked(report: LintReport) -> str:
    """Words which rules did not run, by what they lacked: "14 rules (needs --level data)"."""
    codes: dict[str, set[str]] = {}
    places: dict[str, set[str]] = {}
    for unchecked in report.not_checked:
        codes.setdefault(unchecked.reason, set()).add(unchecked.code)
        places.setdefault(unchecked.reason, set()).update(unchecked.checkpoints)
    parts = []
    for reason, names in sorted(codes.items(), key=lambda it: -len(it[1])):
        some = len(places[reason]) < len(report.checkpoints)
        where = f" of {count_of(len(places[reason]), 'checkpoint')}" if some else ""
        parts.append(f"{count_of(len(names), 'rule')}{where} ({reason})")
    return ", ".join(parts)


def _list_counts(report: LintReport) -> list[str]:
    failed = sum(bool(failure.code) for failure in report.failures)
    counts = [
        (len(report.failures) - failed, "could not be linted", "could not be linted"),
        (failed, "rule failed", "rules failed"),
        *((report.count(severity), severity, _PLURALS[severity]) for severity in SEVERITIES),
        (sum(it.fix is not None and it.fix.safe for it in report.findings), *("fixable with --fix",) * 2),
        (sum(it.fix is not None and not it.fix.safe for it in report.findings), *("with --unsafe-fixes",) * 2),
        (len(report.fixes), *("would be fixed" if report.dry else "fixed",) * 2),
        (report.suppressed, *("held back by the baseline",) * 2),
        (report.stale, "stale entry in the baseline", "stale entries in the baseline"),
    ]
    words = [count_of(count, one, many) for count, one, many in counts if count]
    clean = report.checkpoints and not report.findings and not report.failures
    return ["nothing new found" if report.suppressed else "nothing found", *words] if clean else words
