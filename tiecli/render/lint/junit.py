"""Lint as JUnit XML: a suite a checkpoint, a test case a finding; what was not checked is skipped."""

from __future__ import annotations

from collections import Counter, defaultdict
from xml.etree import ElementTree as ET  # only written, never parsed

from tiecli.linting.report import FailOn, LintFailure, LintReport, ReportedFinding, Unchecked, is_at_least
from tiecli.render.lines import escape
from tiecli.render.lint.wording import word_failure, word_finding

_COUNTS = ("tests", "failures", "errors", "skipped")


def render_junit(report: LintReport) -> str:
    """Gives one XML document; findings milder than `fail_on` are cases that pass and say what was found."""
    suites: dict[str, _Suite] = defaultdict(_Suite)
    for checkpoint in report.checkpoints:
        suites[checkpoint] = _Suite()
    for failure in report.failures:
        suites[failure.path].add_failure(failure)
    for finding in report.findings:
        suites[finding.checkpoint].add_finding(finding, report.fail_on)
    for unchecked in report.not_checked:
        for checkpoint in unchecked.checkpoints:
            suites[checkpoint].add_unchecked(unchecked, checkpoint)
    root = ET.Element("testsuites", name="tiecli lint")
    root.extend(suite.finish(checkpoint) for checkpoint, suite in suites.items())
    _set_counts(root, {key: sum(int(suite.get(key, "0")) for suite in root) for key in _COUNTS})
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


class _Suite:
    """The test cases of one checkpoint."""

    def __init__(self) -> None:
        self._element = ET.Element("testsuite")
        self._names = Counter[tuple[str, str]]()
        self._counts = Counter[str]()

    def add_failure(self, failure: LintFailure) -> None:
        """Adds a test case for what could not be linted."""
        case = self._add_case(failure.code or "could not be linted", failure.path)
        ET.SubElement(case, "error", type=failure.code or "tiecli", message=escape(word_failure(failure)))
        self._counts["errors"] += 1

    def add_finding(self, finding: ReportedFinding, fail_on: FailOn) -> None:
        """Adds a test case for a finding, which fails where it is bad enough."""
        leaf = finding.leaves[:1]
        case = self._add_case(" ".join([finding.code, finding.name, *leaf]), finding.path)
        text = escape(word_finding(finding))
        if is_at_least(finding.severity, fail_on):
            ET.SubElement(case, "failure", type=finding.severity, message=escape(finding.message)).text = text
            self._counts["failures"] += 1
        else:
            ET.SubElement(case, "system-out").text = f"{finding.severity}: {text}"

    def add_unchecked(self, unchecked: Unchecked, checkpoint: str) -> None:
        """Adds a test case for a rule that did not run."""
        ET.SubElement(self._add_case(unchecked.code, checkpoint), "skipped", message=escape(unchecked.reason))
        self._counts["skipped"] += 1

    def finish(self, checkpoint: str) -> ET.Element:
        """Gives the suite; one in which nothing was found still has a case that says so."""
        if len(self._element) == self._counts["skipped"]:
            self._add_case("nothing found", checkpoint)
        self._element.set("name", escape(checkpoint) or "tiecli")
        _set_counts(self._element, {**self._counts, "tests": len(self._element)})
        return self._element

    def _add_case(self, name: str, where: str) -> ET.Element:
        # GitLab shows one of those that are named alike.
        self._names[name, where] += 1
        n = self._names[name, where]
        name = escape(name) + (f" ({n})" if n > 1 else "")
        return ET.SubElement(self._element, "testcase", name=name, classname=escape(where))


def _set_counts(element: ET.Element, counts: dict[str, int]) -> None:
    for key in _COUNTS:
        element.set(key, str(counts.get(key, 0)))
