"""Every format of lint can be read back, whatever files and leaves are called."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tiecli.lint.registry import CODES
from tiecli.lint.report import AppliedFix, LintFailure, LintReport, ReportedFinding, Unchecked
from tiecli.lint.rule import SEVERITIES, Fix
from tiecli.render.lines import escape
from tiecli.render.lint import STYLES, render_lint

HOSTILE = (
    "",
    "plain",
    "a,b:c%0A",
    "\n::error::x",
    "\r\n##[add-mask]x",
    "]]></failure><x>",
    "\"'&<>",
    "\x00\x1b[2J\x7f\x85\x9b",
    "\u2028\u2029\u202e",
    "\ud800 \udcff",
    "\ufffe\uffff",
    "ü/𝄞 e\u0301",
    "../../etc/passwd",
    "/absolute",
    "[x](http://example.invalid) {0} {{}}",
    "```\n# x",
)
NAMES = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=12), st.builds("".join, st.lists(st.sampled_from(HOSTILE)))
)
FINDINGS = st.builds(
    ReportedFinding,
    checkpoint=NAMES,
    path=NAMES,
    code=st.sampled_from(CODES),
    name=st.just("some-name"),
    severity=st.sampled_from(SEVERITIES),
    message=NAMES,
    leaves=st.lists(NAMES, max_size=3).map(tuple),
    fingerprint=st.sampled_from(("0" * 16, "f" * 16)),
    fix=st.none() | st.builds(Fix, NAMES, st.just(()), st.booleans()),
    hint=NAMES,
)
REPORTS = st.builds(
    LintReport,
    st.lists(NAMES, max_size=3).map(tuple),
    st.lists(FINDINGS, max_size=4).map(tuple),
    st.lists(st.builds(Unchecked, st.sampled_from(CODES), NAMES, st.lists(NAMES, min_size=1, max_size=2).map(tuple)),
             max_size=3).map(tuple),
    st.lists(st.builds(LintFailure, NAMES, st.sampled_from(("", *CODES)), NAMES, NAMES), max_size=2).map(tuple),
    st.lists(st.builds(AppliedFix, NAMES, st.sampled_from(CODES), NAMES, st.lists(NAMES, max_size=2).map(tuple)),
             max_size=2).map(tuple),
    fail_on=st.sampled_from((*SEVERITIES, "never")),
)  # fmt: skip
COMMAND = re.compile(r"::(error|warning|notice) title=([^:,]*)(?:,file=([^:,]*))?::(.*)")


@given(REPORTS)
def test_nothing_printed_can_steer_a_terminal(report: LintReport) -> None:
    """No format lets a control character through, and all of them are UTF-8."""
    for style in STYLES:
        shown = render_lint(report, style)
        shown.encode("utf-8")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown), style


@given(REPORTS)
def test_json_gives_every_name_back(report: LintReport) -> None:
    """As it is, in the document and line by line."""
    document = json.loads(render_lint(report, "json"))
    records = [json.loads(line) for line in render_lint(report, "jsonl").split("\n")[:-1]]

    assert document["checkpoints"] == list(report.checkpoints)
    for found in (document["findings"], [it for it in records if it["record"] == "finding"]):
        assert [(it["path"], it["message"], it["hint"], tuple(it["leaves"])) for it in found] == [
            (it.path, it.message, it.hint, it.leaves) for it in report.findings
        ]
    assert [it["message"] for it in document["failures"]] == [it.message for it in report.failures]
    assert len(records) == 1 + sum(
        map(len, (report.checkpoints, report.findings, report.not_checked, report.failures, report.fixes))
    )


@given(REPORTS)
def test_a_github_command_stays_one_line_and_gives_its_parts_back(report: LintReport) -> None:
    """As GitHub unescapes them, but for control characters, which are spelled out."""
    lines = render_lint(report, "github").split("\n")
    parsed = [COMMAND.fullmatch(line) for line in lines[:-1]]

    assert lines[-1] == ""
    assert all(parsed)
    assert len(parsed) == len(report.failures) + len(report.findings) + 1
    files = {unescape(match[3]) for match in parsed if match and match[3]}
    assert files == {spell(it.path) for it in (*report.failures, *report.findings) if it.path}


def unescape(text: str) -> str:
    """Decodes a property as GitHub's runner does."""
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def spell(text: str) -> str:
    """Spells control characters out, except line breaks."""
    return "\n".join(map(escape, text.split("\n")))


@given(REPORTS)
def test_gitlab_issues_are_complete_and_apart(report: LintReport) -> None:
    """Each has a place, a text and a fingerprint of its own."""
    issues = json.loads(render_lint(report, "gitlab"))

    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    assert len(issues) == len(report.findings) + len(report.failures) + len({it.reason for it in report.not_checked})
    for issue in issues:
        assert issue["description"]
        assert issue["location"]["path"]


@given(REPORTS)
def test_junit_is_well_formed_and_its_counts_agree(report: LintReport) -> None:
    """Whatever the names hold, an XML parser reads the document."""
    root = ET.fromstring(render_lint(report, "junit").encode("utf-8"))

    assert len(list(root.iter("error"))) == len(report.failures)
    assert len(list(root.iter("failure"))) + len(list(root.iter("system-out"))) == len(report.findings)
    assert len(list(root.iter("skipped"))) == sum(len(it.checkpoints) for it in report.not_checked)
    for element in (root, *root):
        assert int(element.get("tests", "-1")) == len(list(element.iter("testcase")))


@given(REPORTS)
def test_sarif_places_are_uris(report: LintReport) -> None:
    """Of unreserved characters alone; leaves are named as they are."""
    (run,) = json.loads(render_lint(report, "sarif"))["runs"]

    paths = {it.path.removeprefix("/") for it in report.findings if it.path.isascii()}
    uris = [it["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for it in run["results"]]
    assert all(re.fullmatch(r"(file:/)?[A-Za-z0-9/._~%-]*", uri) for uri in uris)
    assert paths <= {unquote_to_bytes(uri.removeprefix("file:///")).decode("utf-8", "replace") for uri in uris}
    leaves = [it["fullyQualifiedName"] for result in run["results"]
              for it in result["locations"][0].get("logicalLocations", ())]  # fmt: skip
    assert sorted(leaves) == sorted(leaf for it in report.findings for leaf in it.leaves)
