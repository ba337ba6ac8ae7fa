"""Showing reports: what the commands do with what the verbs give them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tiecli.cli.console import show_json, show_lines, show_notice

if TYPE_CHECKING:
    from tiecli.reports import ApplyReport
    from tiecli.verbs.inspect import SortKey


def show_inspection(
    checkpoint: Path,
    select: str | None = None,
    sort: SortKey = "stored",
    depth: int | None = None,
    *,
    step: int | None = None,
    item: str | None = None,
    table: bool = False,
    as_json: bool = False,
) -> int:
    """Inspects a checkpoint and shows what is in it; gives the exit code.

    Apart from the command's options, so that it can run without typer.
    """
    from tiecli.render.inspect import inspect_to_json, inspect_to_text
    from tiecli.verbs.inspect import inspect

    report = inspect(checkpoint, select=select, sort=sort, step=step, item=item)
    if as_json:
        show_json(inspect_to_json(report))
    else:
        show_lines(inspect_to_text(report, table=table or sort != "stored", depth=depth))
    return 0


def show_applied(report: ApplyReport, *, as_json: bool) -> int:
    """Shows what `tie` or `untie` did or would do; gives the exit code."""
    from tiecli.render.apply import apply_to_json, apply_to_notices, apply_to_text

    if as_json:
        show_json(apply_to_json(report))
    else:
        show_lines(apply_to_text(report))
        show_notice(*apply_to_notices(report))
    return 0
