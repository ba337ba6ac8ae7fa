"""Showing an inspection; apart from its options, so that it can start without typer."""

from __future__ import annotations

from pathlib import Path

from tiecli.cli.console import show_json, show_lines
from tiecli.render.inspect import inspect_to_json, inspect_to_text
from tiecli.verbs.inspect import SortKey, inspect


def show_inspection(
    checkpoint: Path,
    select: str | None = None,
    sort: SortKey = "stored",
    depth: int | None = None,
    *,
    table: bool = False,
    as_json: bool = False,
) -> int:
    """Inspects a checkpoint and shows what is in it; gives the exit code."""
    report = inspect(checkpoint, select=select, sort=sort)
    if as_json:
        show_json(inspect_to_json(report))
    else:
        show_lines(inspect_to_text(report, table=table or sort != "stored", depth=depth))
    return 0
