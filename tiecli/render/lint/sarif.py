"""Lint as SARIF 2.1.0, as GitHub code scanning and others take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from urllib.parse import quote

from tiecli.lint.registry import find_rule, list_rules
from tiecli.lint.report import LintReport, ReportedFinding
from tiecli.lint.rule import Rule, Severity
from tiecli.render.lint.pages import rule_to_markdown, rule_to_text

# Source: the schema's own identifier.
_SCHEMA = "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
# Source: GitHub's limits for SARIF uploads.
_MOST_RESULTS = 25_000
_MOST_LEAVES = 100


def render_sarif(report: LintReport) -> str:
    """Gives one run with every rule, every finding, and a notification for all that was not checked."""
    rules = list_rules()
    places = {rule.code: place for place, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "tiecli",
                "version": version("tiecli"),
                "informationUri": "https://pypi.org/project/tiecli/",
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
        "results": [_describe_finding(finding, places) for finding in report.findings[:_MOST_RESULTS]],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=2) + "\n"


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


def _describe_finding(finding: ReportedFinding, places: dict[str, int]) -> dict[str, object]:
    text = finding.message
    if finding.fix is not None:
        text += f" Fix: {finding.fix.summary}."
    if finding.hint:
        text += f" {finding.hint}"
    location: dict[str, object] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(finding.path)},
            # A region has to be there; a binary file has no lines.
            "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2},
        }
    }
    if finding.leaves:
        location["logicalLocations"] = [
            {"fullyQualifiedName": leaf, "kind": "member"} for leaf in finding.leaves[:_MOST_LEAVES]
        ]
    return {
        "ruleId": finding.code,
        "ruleIndex": places[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"primaryLocationLineHash": finding.fingerprint},
    }


def _list_notifications(report: LintReport) -> Iterator[dict[str, object]]:
    for failure in report.failures:
        notification: dict[str, object] = {"level": "error", "message": {"text": failure.message}}
        if failure.path:
            notification["locations"] = [{"physicalLocation": {"artifactLocation": {"uri": quote(failure.path)}}}]
        if failure.code:
            notification["associatedRule"] = {"id": failure.code}
        yield notification
    for unchecked in report.not_checked:
        where = ", ".join(unchecked.checkpoints[:3])
        rest = len(unchecked.checkpoints) - 3
        where += f" and {rest:,} more" if rest > 0 else ""
        text = f"{unchecked.code} {find_rule(unchecked.code).name} was not checked: {unchecked.reason} ({where})"
        yield {"level": "note", "message": {"text": text}, "associatedRule": {"id": unchecked.code}}
    cut = len(report.findings) - _MOST_RESULTS
    if cut > 0:
        yield {"level": "warning", "message": {"text": f"{cut:,} findings more than GitHub takes were left out"}}
