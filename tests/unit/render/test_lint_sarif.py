"""`tiecli/render/lint/sarif.py`: SARIF with all that GitHub asks for; the published schema is asked in tests/peer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.render.lint_reports import BROKEN, CLEAN, DRIFTED, FOUND, RUN7, RUN8, SIZE, TAG
from tiecli.linting.registry import CODES, find_rule
from tiecli.linting.report import LintReport
from tiecli.render.lint import render_lint, sarif


def read_run(report: LintReport) -> Any:
    """The one run, read back."""
    document = json.loads(render_lint(report, "sarif"))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    return run


def list_notes(run: Any) -> list[str]:
    """What the run says beside its results."""
    return [note["message"]["text"] for note in run["invocations"][0]["toolExecutionNotifications"]]


def test_a_result_has_all_that_code_scanning_asks_for() -> None:
    """Message, one location with a region, a level, and a fingerprint."""
    run = read_run(FOUND)

    assert run["results"][1] == {
        "ruleId": "IDX005",
        "ruleIndex": CODES.index("IDX005"),
        "level": "warning",
        "message": {"text": "total_size is 656, tensors sum to 400. Fix: set `total_size` to 400."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "checkpoints/run8/model.safetensors.index.json"},
                    "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2},
                }
            }
        ],
        "partialFingerprints": {
            "primaryLocationLineHash": run["results"][1]["partialFingerprints"]["primaryLocationLineHash"],
            "tiecli/v1": "00112233445566bb",
        },
    }
    assert run["results"][0]["locations"][0]["logicalLocations"] == [
        {"fullyQualifiedName": "lm_head.weight", "kind": "member"},
        {"fullyQualifiedName": "model.embed_tokens.weight", "kind": "member"},
    ]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note"]


def test_every_rule_is_described_within_githubs_limits() -> None:
    """Texts are there, tags are few, and indices lead to them."""
    rules = read_run(CLEAN)["tool"]["driver"]["rules"]

    assert [rule["id"] for rule in rules] == list(CODES)
    for rule in rules:
        for member in ("shortDescription", "fullDescription", "help"):
            assert rule[member]["text"]
        assert rule["name"] == find_rule(rule["id"]).name
        tags = rule["properties"]["tags"]
        assert len(tags) == len(set(tags)) <= 10


def test_rules_not_run_and_failures_are_notifications() -> None:
    """A run without results is not taken for verified, and one with failures not for successful."""
    broken, clean = read_run(BROKEN), read_run(CLEAN)

    assert not broken["invocations"][0]["executionSuccessful"]
    assert list_notes(broken)[:2] == [
        "could not run KEY001: KeyError: 'model'.",
        "could not be linted: `nowhere` does not exist. Check the path.",
    ]
    assert clean["results"] == []
    assert clean["invocations"][0]["executionSuccessful"]
    name = find_rule("NUM001").name
    assert list_notes(clean) == [
        f"NUM001 {name} was not checked: needs --level data (checkpoints/run7)",
        "1 checkpoint, nothing found. Not checked: 1 rule (needs --level data).",
    ]


def test_of_too_many_results_the_worst_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said how many are missing."""
    monkeypatch.setattr(sarif, "_MOST_RESULTS", 3)

    run = read_run(LintReport((RUN7,), (TAG, SIZE, SIZE, DRIFTED, DRIFTED)))

    assert [result["level"] for result in run["results"]] == ["error", "error", "warning"]
    assert list_notes(run)[0] == "2 of the mildest findings were left out: GitHub takes 3"


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a b/ü%.safetensors", "a%20b/%C3%BC%25.safetensors"),
        ("/models/x.safetensors", "file:///models/x.safetensors"),
        ("c:d/e?f#g", "c%3Ad/e%3Ff%23g"),
        ("x\udcff.safetensors", "x%FF.safetensors"),
        ("x\ud800", "x%ED%A0%80"),
    ],
)
def test_paths_are_uris(path: str, uri: str) -> None:
    """Relative ones stay relative; bytes that are no text stay the bytes that they are."""
    result = read_run(LintReport((RUN7,), (replace(SIZE, path=path),)))["results"][0]

    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_findings_that_are_alike_have_fingerprints_of_their_own() -> None:
    """GitHub takes equal ones for one alert."""
    twins = [replace(SIZE, checkpoint=run, path=f"{run}/index.json") for run in (RUN7, RUN8)]

    results = read_run(LintReport((RUN7, RUN8), (*twins, *twins)))["results"]

    assert len({result["partialFingerprints"]["primaryLocationLineHash"] for result in results}) == 4


def test_long_lists_of_leaves_are_cut() -> None:
    """GitHub shows a hundred."""
    many = replace(DRIFTED, leaves=tuple(f"h.{n}" for n in range(300)))

    result = read_run(LintReport((RUN7,), (many,)))["results"][0]

    assert len(result["locations"][0]["logicalLocations"]) == 100
