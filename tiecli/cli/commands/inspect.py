"""`tiecli inspect`: what is in a checkpoint."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tiecli.cli.options import Checkpoint, Item, Json, Step
from tiecli.cli.showing import show_inspection


class Sort(StrEnum):
    """Orders of the leaves."""

    STORED = "stored"
    NAME = "name"
    SIZE = "size"
    DTYPE = "dtype"


def run_inspect(
    checkpoint: Checkpoint,
    select: Annotated[
        str | None,
        typer.Option("--filter", metavar="PATTERN", help="Show only leaves that match, such as 'h.*.attn.**'."),
    ] = None,
    sort: Annotated[
        Sort, typer.Option("--sort", help="Order of the leaves; anything but `stored` shows a table.")
    ] = Sort.STORED,
    depth: Annotated[int | None, typer.Option("--depth", min=0, help="How many levels of the tree to open.")] = None,
    table: Annotated[bool, typer.Option("--table", help="One line a leaf, nothing folded.")] = False,
    step: Step = None,
    item: Item = None,
    as_json: Json = False,
) -> int:
    """Show leaves, sizes and ties of a checkpoint.

    Reads headers and metadata only.

    Example: tiecli inspect model.safetensors --filter 'h.0.**' --table
    """
    return show_inspection(checkpoint, select, sort.value, depth, step=step, item=item, table=table, as_json=as_json)
