"""Lint as data: one JSON document, or one record a line that can be merged with those of other runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tiecli.linting.report import AppliedFix, LintFailure, LintReport, ReportedFinding, Unchecked
from tiecli.linting.rule import SEVERITIES
from tiecli.render.jsontext import encode_json

SCHEMA = "tiecli.lint/1"


def lint_to_json(report: LintReport) -> dict[str, object]:
    """Gives a report as data; see docs/schemas/lint.schema.json."""
    return {
        "schema": SCHEMA,
        "checkpoints": list(report.checkpoints),
        "findings": [_finding_to_json(finding) for finding in report.findings],
        "not_checked": [_unchecked_to_json(unchecked) for unchecked in report.not_checked],
        "failures": [_failure_to_json(failure) for failure in report.failures],
        "fixes": [_fix_to_json(applied, dry=report.dry) for applied in report.fixes],
        "notices": list(report.notices),
        "summary": _summary_to_json(report),
    }


def render_json(report: LintReport) -> str:
    """Gives one document, indented."""
    return encode_json(lint_to_json(report), indent=2) + "\n"


def render_jsonl(report: LintReport) -> str:
    """Gives one record a line, each whole in itself: `cat` merges the files of several runs."""
    return "".join(encode_json(record) + "\n" for record in _list_records(report))


def _list_records(report: LintReport) -> Iterator[Mapping[str, object]]:
    for checkpoint in report.checkpoints:
        yield {"schema": SCHEMA, "record": "checkpoint", "path": checkpoint}
    for finding in report.findings:
        yield {"schema": SCHEMA, "record": "finding", **_finding_to_json(finding)}
    for unchecked in report.not_checked:
        yield {"schema": SCHEMA, "record": "not_checked", **_unchecked_to_json(unchecked)}
    for failure in report.failures:
        yield {"schema": SCHEMA, "record": "failure", **_failure_to_json(failure)}
    for applied in report.fixes:
        yield {"schema": SCHEMA, "record": "fix", **_fix_to_json(applied, dry=report.dry)}
    for notice in report.notices:
        yield {"schema": SCHEMA, "record": "notice", "message": notice}
    yield {"schema": SCHEMA, "record": "summary", **_summary_to_json(report)}


def _finding_to_json(finding: ReportedFinding) -> dict[str, object]:
    fix = finding.fix
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "checkpoint": finding.checkpoint,
        "path": finding.path,
        "leaves": list(finding.leaves),
        "message": finding.message,
        "hint": finding.hint,
        "fix": None if fix is None else {"summary": fix.summary, "safe": fix.safe},
        "fingerprint": finding.fingerprint,
    }


def _unchecked_to_json(unchecked: Unchecked) -> dict[str, object]:
    return {"code": unchecked.code, "reason": unchecked.reason, "checkpoints": list(unchecked.checkpoints)}


def _failure_to_json(failure: LintFailure) -> dict[str, object]:
    return {"path": failure.path, "code": failure.code, "message": failure.message, "hint": failure.hint}


def _fix_to_json(applied: AppliedFix, *, dry: bool) -> dict[str, object]:
    return {
        "checkpoint": applied.checkpoint,
        "code": applied.code,
        "summary": applied.summary,
        "edits": list(applied.edits),
        "applied": not dry,
    }


def _summary_to_json(report: LintReport) -> dict[str, object]:
    return {
        "checkpoints": len(report.checkpoints),
        **{severity: report.count(severity) for severity in SEVERITIES},
        "fixable": sum(finding.fix is not None and finding.fix.safe for finding in report.findings),
        "unsafely_fixable": sum(finding.fix is not None and not finding.fix.safe for finding in report.findings),
        "not_checked": len({unchecked.code for unchecked in report.not_checked}),
        "failures": len(report.failures),
        "suppressed": report.suppressed,
        "stale": report.stale,
        "fail_on": report.fail_on,
        "passed": not report.fails and not report.failures,
    }
