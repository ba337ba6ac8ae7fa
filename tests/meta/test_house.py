"""The house: imports go one way, files and functions stay readable, code is clean."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "tiecli").rglob("*.py"))


def run_tool(*command: str) -> None:
    """Runs a tool from this environment and shows what it says when it objects."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_contracts_hold() -> None:
    """Nouns know no I/O, one door does all of it, faces come last."""
    run_tool("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


def test_types_are_strict() -> None:
    """mypy finds nothing under its strictest setting."""
    run_tool("-m", "mypy", "--no-incremental", "--cache-dir=/dev/null")


def test_style_is_clean() -> None:
    """ruff finds nothing to say."""
    run_tool("-m", "ruff", "check", "--no-cache", "tiecli", "tests", "fixtures")
    run_tool("-m", "ruff", "format", "--no-cache", "--check", "tiecli", "tests", "fixtures")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    """A file fits a head, a function a screen, and everything public says what it is."""
    text = path.read_text()
    assert text.count("\n") <= 320
    for node in walk_definitions(ast.parse(text)):
        assert node.end_lineno is not None
        assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"
        assert node.name.startswith("_") or ast.get_docstring(node), f"{node.name} has no docstring"


def walk_definitions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yields every function of a module."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
