"""The page for users says what the code does."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import Transform
from tiecli.transforms.grammar import MAX_TEXT
from tiecli.transforms.shapes import MAX_SOURCES
from tiecli.transforms.steps import MAX_RANK, MAX_STEPS

PAGE = Path(__file__).parents[3] / "docs" / "transforms.md"


def example_rows() -> list[list[str]]:
    """The rows of the table of examples, cell by cell."""
    section = PAGE.read_text(encoding="utf-8").split("## Examples")[1].split("##")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [line.replace("\\|", "\0").strip("| ").split(" | ") for line in lines]
    return [[cell.strip("`").replace("\0", "|") for cell in row] for row in rows]


def read_spec(text: str) -> LeafSpec:
    dtype, shape = text.split(" ")
    return LeafSpec(tuple(map(int, shape.split("×"))), DTYPES[dtype])


@pytest.mark.parametrize(("typed", "stored", "takes", "gives"), example_rows(), ids=lambda cell: cell)
def test_examples_print_and_give_what_the_page_says(typed: str, stored: str, takes: str, gives: str) -> None:
    """Each row of the table of examples holds."""
    transform = Transform.parse(typed)

    assert str(transform) == stored
    if takes != "anything":
        assert transform.spec([read_spec(cell) for cell in takes.split(", ")]) == read_spec(gives)


def test_the_python_session_runs() -> None:
    """The session on the page gives the output shown."""
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)

    assert tried > 0
    assert failed == 0


def test_the_limits_are_those_of_the_code() -> None:
    """The limits named on the page are the constants."""
    page = PAGE.read_text(encoding="utf-8")

    assert f"{MAX_STEPS} steps, {MAX_TEXT:,} characters, {MAX_RANK} axes" in page
    assert f"{MAX_SOURCES:,} sources" in page
