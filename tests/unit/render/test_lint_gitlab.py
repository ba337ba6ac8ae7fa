"""`tiecli/render/lint/gitlab.py`: GitLab's code quality artefact."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.unit.render.lint_reports import BROKEN, CLEAN, DRIFTED, FOUND, RUN7, RUN8, SIZE
from tiecli.linting.report import LintReport
from tiecli.render.lint import render_lint


def list_issues(report: LintReport) -> Any:
    """The artefact, read back."""
    return json.loads(render_lint(report, "gitlab"))


def test_each_finding_is_an_issue() -> None:
    """Every member that GitLab asks for, and the severities that it knows."""
    issues = list_issues(FOUND)

    assert issues[1] == {
        "description": "IDX005 wrong-total-size: total_size is 656, tensors sum to 400. Fix: set `total_size` to 400.",
        "check_name": "IDX005",
        "fingerprint": issues[1]["fingerprint"],
        "severity": "minor",
        "location": {"path": "checkpoints/run8/model.safetensors.index.json", "lines": {"begin": 1}},
    }
    assert [issue["severity"] for issue in issues] == ["major", "minor", "info", "info", "info"]


def test_what_was_not_checked_is_one_issue_a_reason() -> None:
    """A thousand checkpoints at header level are one line in the widget, not fourteen thousand."""
    assert [issue["description"] for issue in list_issues(FOUND)[3:]] == [
        "Not checked: 2 rules of 2 checkpoints: needs --level data (NUM001, NUM002)",
        "Not checked: 1 rule of 1 checkpoint: needs config.json (CFG001)",
    ]
    assert [issue["check_name"] for issue in list_issues(CLEAN)] == ["not-checked"]


def test_failures_block() -> None:
    """What could not be linted comes first, with the highest severity, and its hint."""
    first, second, third, *_ = list_issues(BROKEN)

    assert first["severity"] == second["severity"] == "blocker"
    assert first["description"] == "could not run KEY001: KeyError: 'model'."
    assert second["description"] == "could not be linted: `nowhere` does not exist. Check the path."
    assert second["location"]["path"] == "nowhere"
    assert third["check_name"] == "TIE003"


def test_no_two_issues_share_a_fingerprint() -> None:
    """Checkpoints that are alike, findings that are alike, failures that are alike."""
    twins = tuple(replace(SIZE, checkpoint=run, path=f"{run}/index.json") for run in (RUN7, RUN8))
    report = replace(BROKEN, findings=(*twins, *twins, DRIFTED), failures=BROKEN.failures * 2)

    prints = [issue["fingerprint"] for issue in list_issues(report)]

    assert len(prints) == len(set(prints)) == 11
    assert all(len(text) == 16 for text in prints)


def test_fingerprints_stay_from_run_to_run() -> None:
    """Whatever else is found, and whatever the message says today."""
    first = next(issue for issue in list_issues(FOUND) if issue["check_name"] == "IDX005")
    other = list_issues(LintReport((RUN8,), (replace(SIZE, message="total_size is 1, tensors sum to 400."),)))

    assert other[0]["fingerprint"] == first["fingerprint"]
