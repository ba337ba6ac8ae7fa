"""`tiecli/planfile.py`: what a plan file says, and how a damaged one is refused."""

from __future__ import annotations

import json

import pytest

from tiecli.errors import PlanFileError
from tiecli.keypaths import KeyPath
from tiecli.plan import TieRequest
from tiecli.planfile import SCHEMA, parse_plan, plan_to_json
from tiecli.transforms import TRANSPOSE


def test_requests_come_back_as_they_were_written() -> None:
    """With a transform, and without one, which says that nobody vouches for it."""
    requests = [TieRequest("a", "b", TRANSPOSE), TieRequest("(a, b)", "c"), TieRequest("a", KeyPath(("a[0]", "b")))]

    assert parse_plan(json.dumps(plan_to_json(requests)), "ties.json") == requests


def test_leaves_are_spelled_by_name_unless_that_could_be_misread() -> None:
    """Names stay readable; a key with brackets of its own is written as one key of several."""
    document = plan_to_json([TieRequest(KeyPath(("layers", 0, "a.b")), KeyPath(("layers[0]", "w")))])

    assert document["ties"] == [{"src": 'layers[0]."a.b"', "dst": ["layers[0]", "w"]}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "`ties.json` is not JSON"),
        ("[" * 100_000, "`ties.json` is not JSON"),
        ("[]", "schema is None, expected `tiecli.plan/1`"),
        ('{"schema": "tiecli.plan/9", "ties": []}', "schema is 'tiecli.plan/9'"),
        (f'{{"schema": "{SCHEMA}"}}', "ties is None, expected a list"),
        (f'{{"schema": "{SCHEMA}", "ties": [{{"src": "a"}}]}}', r"ties\[0\] is .*, expected src and dst"),
        (f'{{"schema": "{SCHEMA}", "ties": [{{"src": "a", "dst": "b", "via": "c"}}]}}', "unknown keys: via"),
        (f'{{"schema": "{SCHEMA}", "ties": [{{"src": ["a", true], "dst": "b"}}]}}', "strings or lists of keys"),
        (f'{{"schema": "{SCHEMA}", "ties": [{{"src": "a", "dst": [["b"]]}}]}}', "strings or lists of keys"),
        (
            f'{{"schema": "{SCHEMA}", "ties": [{{"src": "a", "dst": "b", "transform": "turn"}}]}}',
            r"ties\[0\]\.transform",
        ),
        (f'{{"schema": "{SCHEMA}", "ties": [{{"src": "a", "dst": "b", "transform": 3}}]}}', r"ties\[0\]\.transform"),
    ],
)
def test_damaged_plan_files_are_refused_by_place(text: str, message: str) -> None:
    """The file, the entry and the field are named."""
    with pytest.raises(PlanFileError, match=message):
        parse_plan(text, "ties.json")
