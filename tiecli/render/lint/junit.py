"""Lint as JUnit XML: a suite a checkpoint, a test case a finding; what was not checked is skipped."""

from __future__ import annotations

from xml.etree import ElementTree as ET  # only written, never parsed

from tiecli.lint.report import LintReport, ReportedFinding, is_at_least
from tiecli.render.lines import escape


def render_junit(report: LintReport) -> str:
    """Gives one XML document; findings milder than `fail_on` are cases that pass and say what was found."""
    root = ET.Element("testsuites", name="tiecli lint")
    places = dict.fromkeys([*report.checkpoints, *(failure.path for failure in report.failures)])
    for checkpoint in places:
        _add_suite(root, checkpoint, report)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add_suite(root: ET.Element, checkpoint: str, report: LintReport) -> None:
    suite = ET.SubElement(root, "testsuite", name=escape(checkpoint))
    findings = [finding for finding in report.findings if finding.checkpoint == checkpoint]
    failed = 0
    for finding in findings:
        failed += _add_finding(suite, finding, report)
    failures = [failure for failure in report.failures if failure.path == checkpoint]
    for failure in failures:
        case = _add_case(suite, failure.code or "could not be linted", checkpoint)
        ET.SubElement(case, "error", type=failure.code or "tiecli", message=escape(failure.message))
    skipped = [unchecked for unchecked in report.not_checked if checkpoint in unchecked.checkpoints]
    for unchecked in skipped:
        case = _add_case(suite, unchecked.code, checkpoint)
        ET.SubElement(case, "skipped", message=unchecked.reason)
    if not findings and not failures:
        _add_case(suite, "nothing found", checkpoint)
    counts = {"failures": failed, "errors": len(failures), "skipped": len(skipped), "tests": len(suite)}
    for key, count in counts.items():
        suite.set(key, str(count))


def _add_finding(suite: ET.Element, finding: ReportedFinding, report: LintReport) -> bool:
    """Adds one test case; says whether it failed."""
    leaves = f" {finding.leaves[0]}" if finding.leaves else ""
    case = _add_case(suite, f"{finding.code} {finding.name}{leaves}", finding.path)
    fails = is_at_least(finding.severity, report.fail_on)
    text = "\n".join(part for part in (escape(finding.message), finding.hint) if part)
    if fails:
        ET.SubElement(case, "failure", type=finding.severity, message=escape(finding.message)).text = text
    else:
        ET.SubElement(case, "system-out").text = f"{finding.severity}: {text}"
    return fails


def _add_case(suite: ET.Element, name: str, where: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", name=escape(name), classname=escape(where))
