"""`tiecli/render/lint/records.py`: one document, or one record a line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.render.lint_reports import BROKEN, CLEAN, EMPTY, FOUND, MENDED, RUN8, SIZE
from tiecli.linting.report import LintReport
from tiecli.render.lint import render_lint

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "lint.schema.json").read_text())
REPORTS = (FOUND, BROKEN, CLEAN, EMPTY, MENDED)


def read_lines(report: LintReport) -> list[Any]:
    """The records, read back."""
    return [json.loads(line) for line in render_lint(report, "jsonl").splitlines()]


@pytest.mark.parametrize("report", REPORTS)
def test_documents_and_records_follow_the_schema(report: LintReport) -> None:
    """The one document, and each line by itself; the schema refuses members that it does not know."""
    document = json.loads(render_lint(report, "json"))

    jsonschema.validate(document, SCHEMA)
    for record in read_lines(report):
        jsonschema.validate(record, SCHEMA)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**record, "more": 1}, SCHEMA)


def test_a_finding_is_told_whole() -> None:
    """Where, what, how bad, what would mend it, and what it is known by."""
    assert json.loads(render_lint(LintReport((RUN8,), (SIZE,)), "json"))["findings"] == [
        {
            "code": "IDX005",
            "name": "wrong-total-size",
            "severity": "warning",
            "checkpoint": "checkpoints/run8",
            "path": "checkpoints/run8/model.safetensors.index.json",
            "leaves": [],
            "message": "total_size is 656, tensors sum to 400.",
            "hint": "",
            "fix": {"summary": "set `total_size` to 400", "safe": True},
            "fingerprint": "00112233445566bb",
        }
    ]


def test_the_summary_counts_and_says_whether_the_run_passed() -> None:
    """Not with a failure, not with a finding that is bad enough; rules not run are counted beside it."""
    summary = json.loads(render_lint(FOUND, "json"))["summary"]

    assert summary == {
        "checkpoints": 2,
        "error": 1,
        "warning": 1,
        "info": 1,
        "fixable": 1,
        "unsafely_fixable": 1,
        "not_checked": 3,
        "failures": 0,
        "suppressed": 0,
        "stale": 0,
        "fail_on": "warning",
        "passed": False,
    }
    passed = [
        json.loads(render_lint(report, "json"))["summary"]["passed"]
        for report in (CLEAN, EMPTY, replace(FOUND, fail_on="never"), replace(BROKEN, findings=()))
    ]
    assert passed == [True, False, True, False]


def test_lines_hold_what_the_document_holds() -> None:
    """One record a checkpoint, finding, rule not run, failure and fix, and one that sums up."""
    document = json.loads(render_lint(BROKEN, "json"))
    records = read_lines(BROKEN)

    kinds = {"finding": "findings", "not_checked": "not_checked", "failure": "failures", "fix": "fixes"}
    for kind, member in kinds.items():
        found = [{key: value for key, value in it.items() if key not in ("schema", "record")}
                 for it in records if it["record"] == kind]  # fmt: skip
        assert found == document[member]
    assert [it["path"] for it in records if it["record"] == "checkpoint"] == document["checkpoints"]
    assert [it["record"] for it in records][-1] == "summary"


def test_notices_are_told_in_both_forms() -> None:
    """What could not be fixed, and why."""
    document = json.loads(render_lint(MENDED, "json"))

    assert document["notices"] == list(MENDED.notices)
    assert [it["message"] for it in read_lines(MENDED) if it["record"] == "notice"] == document["notices"]


def test_the_lines_of_two_runs_are_the_lines_of_both() -> None:
    """Whole records: files of several shards are put together by `cat`."""
    merged = (render_lint(FOUND, "jsonl") + render_lint(EMPTY, "jsonl")).splitlines()

    assert [json.loads(line) for line in merged] == read_lines(FOUND) + read_lines(EMPTY)


def test_fixes_say_whether_they_were_carried_out() -> None:
    """With `--diff` they were not."""
    applied = [json.loads(render_lint(report, "json"))["fixes"][0]["applied"]
               for report in (MENDED, replace(MENDED, dry=True))]  # fmt: skip
    assert applied == [True, False]
