"""`tiecli diff`: two checkpoints, leaf by leaf."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiecli.cli.console import show_json, show_lines, show_progress
from tiecli.cli.exits import ExitCode
from tiecli.cli.options import Json


def run_diff(
    left: Annotated[Path, typer.Argument(metavar="LEFT", help="A checkpoint; of Orbax also one item: CKPT/STEP/ITEM.")],
    right: Annotated[Path, typer.Argument(metavar="RIGHT", help="Another.")],
    values: Annotated[
        bool, typer.Option("--values", help="Measure how far changed leaves lie apart, not only that they do.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Compare two checkpoints, leaf by leaf.

    Leaves, shapes, dtypes, values, metadata, ties. Exits 1 if they differ.

    Example: tiecli diff before/ after/ --values
    """
    from tiecli.render.diff import diff_to_json, diff_to_text
    from tiecli.verbs.diff import diff

    report = diff(left, right, values=values, track=show_progress)
    if as_json:
        show_json(diff_to_json(report))
    else:
        show_lines(diff_to_text(report))
    return ExitCode.OK if report.equal else ExitCode.NO
