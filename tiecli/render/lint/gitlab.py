"""Lint as GitLab code quality: one issue a finding; what was not checked is an issue, too."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator

from tiecli.lint.report import LintReport, ReportedFinding
from tiecli.lint.rule import Severity

_LEVELS: dict[Severity, str] = {"error": "major", "warning": "minor", "info": "info"}


def render_gitlab(report: LintReport) -> str:
    """Gives a JSON array in the form of GitLab's code quality artefact."""
    return json.dumps(list(_list_issues(report)), ensure_ascii=False, indent=2) + "\n"


def _list_issues(report: LintReport) -> Iterator[dict[str, object]]:
    seen = Counter[str]()
    for finding in report.findings:
        # GitLab takes issues with equal fingerprints for one; checkpoints that are alike give equal ones.
        place = _digest(finding.fingerprint, finding.path)
        seen[place] += 1
        unique = place if seen[place] == 1 else _digest(place, str(seen[place]))
        yield _issue(_describe(finding), finding.code, _LEVELS[finding.severity], finding.path, unique)
    for failure in report.failures:
        what = failure.code or "could not be linted"
        unique = _digest("failure", failure.path, failure.code, failure.message)
        yield _issue(f"{what}: {failure.message}", failure.code or "tiecli", "blocker", failure.path, unique)
    for unchecked in report.not_checked:
        for checkpoint in unchecked.checkpoints:
            told = f"{unchecked.code} was not checked: {unchecked.reason}"
            unique = _digest("unchecked", checkpoint, unchecked.code)
            yield _issue(told, "not-checked", "info", checkpoint, unique)


def _describe(finding: ReportedFinding) -> str:
    return f"{finding.code} {finding.name}: {finding.message}"


def _issue(description: str, check: str, severity: str, path: str, fingerprint: str) -> dict[str, object]:
    return {
        "description": description,
        "check_name": check,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": path, "lines": {"begin": 1}},
    }


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
