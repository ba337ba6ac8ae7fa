"""`tiecli/render/lint/junit.py`: JUnit XML whose counts agree with what is in it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from tests.unit.render.lint_reports import BROKEN, CLEAN, DRIFTED, EMPTY, FOUND, MENDED, RUN7, SIZE
from tiecli.linting.report import LintReport
from tiecli.render.lint import render_lint

KINDS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def parse(report: LintReport) -> ET.Element:
    """The document, read back."""
    return ET.fromstring(render_lint(report, "junit"))


def test_a_small_report_as_it_is_written() -> None:
    """Findings at or above `fail_on` fail, milder ones pass and say what was found, rules not run are skipped."""
    assert render_lint(replace(FOUND, findings=FOUND.findings[1:]), "junit").splitlines() == [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<testsuites name="tiecli lint" tests="8" failures="1" errors="0" skipped="5">',
        '  <testsuite name="checkpoints/run7" tests="4" failures="0" errors="0" skipped="3">',
        '    <testcase name="NUM001" classname="checkpoints/run7">',
        '      <skipped message="needs --level data" />',
        "    </testcase>",
        '    <testcase name="NUM002" classname="checkpoints/run7">',
        '      <skipped message="needs --level data" />',
        "    </testcase>",
        '    <testcase name="CFG001" classname="checkpoints/run7">',
        '      <skipped message="needs config.json" />',
        "    </testcase>",
        '    <testcase name="nothing found" classname="checkpoints/run7" />',
        "  </testsuite>",
        '  <testsuite name="checkpoints/run8" tests="4" failures="1" errors="0" skipped="2">',
        '    <testcase name="IDX005 wrong-total-size" classname="checkpoints/run8/model.safetensors.index.json">',
        '      <failure type="warning" message="total_size is 656, tensors sum to 400.">'
        "total_size is 656, tensors sum to 400. Fix: set `total_size` to 400.</failure>",
        "    </testcase>",
        '    <testcase name="STF011 format-tag-missing" classname="checkpoints/run8/model-00001-of-00001.safetensors">',
        "      <system-out>info: `__metadata__` has no `format`. Fix: set `format` to `pt`.</system-out>",
        "    </testcase>",
        '    <testcase name="NUM001" classname="checkpoints/run8">',
        '      <skipped message="needs --level data" />',
        "    </testcase>",
        '    <testcase name="NUM002" classname="checkpoints/run8">',
        '      <skipped message="needs --level data" />',
        "    </testcase>",
        "  </testsuite>",
        "</testsuites>",
    ]


@pytest.mark.parametrize("report", [FOUND, BROKEN, CLEAN, EMPTY, MENDED, LintReport((RUN7,), (SIZE,) * 30)])
def test_counts_agree_with_the_cases(report: LintReport) -> None:
    """Of every suite, and of all together."""
    root = parse(report)
    assert len(root) > 0
    for element in (root, *root):
        assert int(element.get("tests", "-1")) == len(list(element.iter("testcase"))) > 0
        for key, tag in KINDS.items():
            assert int(element.get(key, "-1")) == len(list(element.iter(tag)))


def test_failures_are_errors_with_suites_of_their_own() -> None:
    """A path that is no checkpoint still has a suite; a suite with an error has no case that passes."""
    root = parse(BROKEN)

    assert [suite.get("name") for suite in root] == ["checkpoints/run7", "checkpoints/run8", "nowhere"]
    assert [error.get("message") for error in root.iter("error")] == [
        "could not run KEY001: KeyError: 'model'.",
        "could not be linted: `nowhere` does not exist. Check the path.",
    ]
    assert [case.get("name") for case in root[2]] == ["could not be linted"]


def test_fail_on_decides_what_fails() -> None:
    """With `never` nothing does, and everything is still said."""
    root = parse(replace(FOUND, fail_on="never"))

    assert root.get("failures") == "0"
    assert len(list(root.iter("system-out"))) == 3


def test_cases_that_are_alike_have_different_names() -> None:
    """GitLab shows only one of those that share a name and a class."""
    cases = [case.get("name") for case in parse(LintReport((RUN7,), (DRIFTED,) * 3)).iter("testcase")]

    assert cases == [f"TIE003 drifted-tie lm_head.weight{suffix}" for suffix in ("", " (2)", " (3)")]
