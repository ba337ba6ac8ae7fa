"""`tiecli/render/lint/pages.py`: the same text for a terminal, the docs, and programs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema

from tiecli.linting.registry import find_rule, list_rules
from tiecli.render.lines import plain_text
from tiecli.render.lint.pages import (
    index_to_markdown,
    rule_to_lines,
    rule_to_markdown,
    rule_to_text,
    rules_to_json,
    rules_to_text,
)

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "schemas" / "rules.schema.json").read_text())
RULE = replace(
    find_rule("STF001"),
    what="It ends early.",
    why="Loaders refuse it.\nSome read zeros.",
    mend="Fetch it again.",
    bad="4 bytes promised, 3 there",
    good="4 bytes promised, 4 there",
    threads=("a#1", "b#2"),
)
OPT_IN = replace(RULE, needs=("data", "config"), formats=("safetensors", "orbax"), cure="either", default=False)


def test_a_page_as_text() -> None:
    """Facts first, then each section, indented."""
    assert rule_to_text(RULE) == (
        "STF001 truncated-file\n\n"
        "Severity: error, reads headers and metadata, of safetensors checkpoints. Fix: none.\n\n"
        "What it finds\n  It ends early.\n\n"
        "Why this is bad\n  Loaders refuse it.\n  Some read zeros.\n\n"
        "What to do\n  Fetch it again.\n\n"
        "Bad example\n  4 bytes promised, 3 there\n\n"
        "Good example\n  4 bytes promised, 4 there\n\n"
        "Seen in\n  a#1, b#2\n"
    )
    assert plain_text(rule_to_lines(RULE)) == rule_to_text(RULE)


def test_a_page_as_markdown() -> None:
    """The same, with headings, and examples as code."""
    page = rule_to_markdown(OPT_IN)

    assert page.startswith(
        "# STF001 truncated-file\n\n"
        "Severity: error, reads array data and config.json, of safetensors and Orbax checkpoints. "
        "Fix: safe or unsafe, by what is found. Opt-in: runs only when selected.\n\n"
        "## What it finds\n\nIt ends early.\n"
    )
    assert "## Bad example\n\n```\n4 bytes promised, 3 there\n```\n" in page
    assert page.endswith("## Seen in\n\na#1, b#2\n")


def test_the_list_is_one_line_a_rule() -> None:
    """Columns line up; what is usual is left blank."""
    assert plain_text(rules_to_text([RULE, OPT_IN])).splitlines() == [
        "STF001   truncated-file   error   header",
        "STF001   truncated-file   error   data+config   fix: either   opt-in",
    ]


def test_the_index_links_to_every_page() -> None:
    """One row a rule."""
    rows = index_to_markdown([RULE, OPT_IN]).splitlines()[-2:]

    assert rows == [
        "| [STF001](STF001.md) | truncated-file | error | header | safetensors | none |",
        "| [STF001](STF001.md) | truncated-file (opt-in) | error | data, config | safetensors, orbax | either |",
    ]


def test_rules_as_data_follow_their_schema() -> None:
    """All of them, with all that their pages say."""
    document = json.loads(json.dumps(rules_to_json(list_rules())))

    jsonschema.validate(document, SCHEMA)
    first = document["rules"][0]
    assert first["why"] == find_rule(first["code"]).why
