"""Lint as SARIF 2.1.0, as GitHub code scanning and others take it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from urllib.parse import quote

from tiecli.linting.registry import find_rule, list_rules
from tiecli.linting.report import LintReport, ReportedFinding
from tiecli.linting.rule import SEVERITIES, Rule, Severity
from tiecli.render.jsontext import encode_json
from tiecli.render.lines import escape
from tiecli.render.lint.identities import identify_findings
from tiecli.render.lint.pages import rule_to_markdown, rule_to_text
from tiecli.render.lint.wording import sum_up, word_failure, word_finding

# Source: the schema's own identifier.
_SCHEMA = "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
# Source: GitHub's limits for SARIF uploads.
_MOST_RESULTS = 25_000
_MOST_LEAVES = 100


def render_sarif(report: LintReport) -> str:
    """Gives one run with every rule, every finding, and a notification for all that was not checked."""
    rules = list_rules()
    run = {
        "tool": {
            "driver": {
                "name": "tiecli",
                "version": version("tiecli"),
                "rules": [_describe_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not report.failures,
                "toolExecutionNotifications": list(_list_notifications(report)),
            }
        ],
        "results": list(_list_results(report, {rule.code: place for place, rule in enumerate(rules)})),
    }
    return encode_json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _describe_rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.name.replace("-", " ").capitalize()},
        "fullDescription": {"text": rule.what},
        "help": {"text": rule_to_text(rule), "markdown": rule_to_markdown(rule)},
        "defaultConfiguration": {"level": _LEVELS[rule.severity], "enabled": rule.default},
        "properties": {"tags": ["checkpoint", *rule.formats, *rule.needs]},
    }


def _list_results(report: LintReport, places: dict[str, int]) -> Iterator[dict[str, object]]:
    """Yields the worst findings first: of too many, GitHub shall get those."""
    findings = sorted(report.findings, key=lambda it: SEVERITIES.index(it.severity))
    for finding, identity in islice(identify_findings(findings), _MOST_RESULTS):
        yield {
            "ruleId": finding.code,
            "ruleIndex": places[finding.code],
            "level": _LEVELS[finding.severity],
            "message": {"text": escape(word_finding(finding))},
            "locations": [_locate(finding)],
            "partialFingerprints": {"primaryLocationLineHash": identity, "tiecli/v1": finding.fingerprint},
        }


def _locate(finding: ReportedFinding) -> dict[str, object]:
    # GitHub wants a region; a binary file has no lines.
    region = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2}
    location: dict[str, object] = {"physicalLocation": {**_place(finding.path), "region": region}}
    if finding.leaves:
        location["logicalLocations"] = [
            {"fullyQualifiedName": leaf, "kind": "member"} for leaf in finding.leaves[:_MOST_LEAVES]
        ]
    return location


def _list_notifications(report: LintReport) -> Iterator[dict[str, object]]:
    for failure in report.failures:
        notification = _notify("error", word_failure(failure))
        if failure.path:
            notification["locations"] = [{"physicalLocation": _place(failure.path)}]
        if failure.code:
            notification["associatedRule"] = {"id": failure.code}
        yield notification
    for unchecked in report.not_checked:
        where = ", ".join(unchecked.checkpoints[:3])
        rest = len(unchecked.checkpoints) - 3
        where += f" and {rest:,} more" if rest > 0 else ""
        text = f"{unchecked.code} {find_rule(unchecked.code).name} was not checked: {unchecked.reason} ({where})"
        yield {**_notify("note", text), "associatedRule": {"id": unchecked.code}}
    cut = len(report.findings) - _MOST_RESULTS
    if cut > 0:
        yield _notify("warning", f"{cut:,} of the mildest findings were left out: GitHub takes {_MOST_RESULTS:,}")
    yield from (_notify("note", notice) for notice in report.notices)
    yield _notify("note", sum_up(report))


def _notify(level: str, text: str) -> dict[str, object]:
    return {"level": level, "message": {"text": escape(text)}}


def _place(path: str) -> dict[str, object]:
    """Gives a path as a URI, relative if it is; names of files may hold what is no text."""
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = path.encode("utf-8", "surrogatepass")
    scheme = "file://" if path.startswith("/") else ""
    return {"artifactLocation": {"uri": scheme + quote(raw)}}
