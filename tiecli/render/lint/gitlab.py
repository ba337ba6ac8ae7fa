"""Lint as GitLab code quality: one issue a finding; what was not checked is an issue, too."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.report import LintReport, Unchecked
from tiecli.linting.rule import Severity
from tiecli.render.jsontext import encode_json
from tiecli.render.lines import count_of, escape
from tiecli.render.lint.identities import digest, identify_findings
from tiecli.render.lint.wording import word_failure, word_finding

_LEVELS: dict[Severity, str] = {"error": "major", "warning": "minor", "info": "info"}


def render_gitlab(report: LintReport) -> str:
    """Gives a JSON array in the form of GitLab's code quality artefact."""
    return encode_json(list(_list_issues(report)), indent=2) + "\n"


def _list_issues(report: LintReport) -> Iterator[dict[str, object]]:
    for n, failure in enumerate(report.failures):
        unique = digest("failure", str(n), failure.path, failure.code, failure.message)
        yield _issue(word_failure(failure), failure.code or "tiecli", "blocker", failure.path, unique)
    for finding, identity in identify_findings(report.findings):
        told = f"{finding.code} {finding.name}: {word_finding(finding)}"
        yield _issue(told, finding.code, _LEVELS[finding.severity], finding.path, identity)
    reasons: dict[str, list[Unchecked]] = {}
    for unchecked in report.not_checked:
        reasons.setdefault(unchecked.reason, []).append(unchecked)
    for reason, group in reasons.items():
        codes = sorted({unchecked.code for unchecked in group})
        places = dict.fromkeys(place for unchecked in group for place in unchecked.checkpoints)
        where = f"{count_of(len(places), 'checkpoint')}: {reason}"
        told = f"Not checked: {count_of(len(codes), 'rule')} of {where} ({', '.join(codes)})"
        yield _issue(told, "not-checked", "info", next(iter(places), ""), digest("not checked", reason))


def _issue(description: str, check: str, severity: str, path: str, fingerprint: str) -> dict[str, object]:
    return {
        "description": escape(description),
        "check_name": check,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": path or ".", "lines": {"begin": 1}},
    }
