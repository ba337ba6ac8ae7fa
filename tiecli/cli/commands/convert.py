"""`tiecli convert`: the same leaves and ties in the other format."""

from __future__ import annotations

from typing import Annotated

import typer

from tiecli.cli.console import show_json, show_lines, show_notice, show_progress
from tiecli.cli.options import Checkpoint, DryRun, Item, Json, Mode, NoSync, Output, Step, choose_target
from tiecli.cli.sizes import parse_size

ShardSize = Annotated[
    str | None,
    typer.Option(
        "--shard-size", metavar="SIZE", help="To safetensors: several files of at most this size, such as 5GB."
    ),
]
Zarr3 = Annotated[bool, typer.Option("--zarr3", help="To Orbax: arrays of zarr 3 instead of 2, as its new API writes.")]
Compress = Annotated[
    bool, typer.Option("--compress", help="To Orbax: compress as Orbax does, instead of copying bytes as they are.")
]
ModeOption = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="To Orbax: `alias` stores an alias as a second name of the bytes it follows from, so that a restore "
        "finds both; `omit` leaves it out.",
        show_default="alias where the transform allows it",
    ),
]


def run_convert(
    checkpoint: Checkpoint,
    output: Output = None,
    shard_size: ShardSize = None,
    zarr3: Zarr3 = False,
    compress: Compress = False,
    mode: ModeOption = None,
    dry_run: DryRun = False,
    no_sync: NoSync = False,
    step: Step = None,
    item: Item = None,
    as_json: Json = False,
) -> int:
    """Write a checkpoint in the other format.

    Orbax becomes safetensors: one file, if OUT ends in .safetensors, else a directory.
    Safetensors becomes an Orbax item. Names, values and ties can be converted back.

    Example: tiecli convert checkpoints/ --step 1000 -o model.safetensors
    """
    from tiecli.render.convert import convert_to_json, convert_to_notices, convert_to_text
    from tiecli.verbs.convert import convert

    shard_nbytes = None if shard_size is None else parse_size(shard_size)
    target = choose_target(
        checkpoint, output, in_place=False, dry_run=dry_run, kept_files=None, link=False, no_sync=no_sync
    )
    report = convert(
        checkpoint,
        target,
        shard_nbytes=shard_nbytes,
        zarr=3 if zarr3 else None,
        compress=compress,
        mode=None if mode is None else mode.value,
        step=step,
        item=item,
        track=show_progress,
    )
    if as_json:
        show_json(convert_to_json(report))
    else:
        show_lines(convert_to_text(report))
        show_notice(*convert_to_notices(report))
    return 0
