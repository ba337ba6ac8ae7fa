"""`tiecli untie`: the exact inverse of `tie`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiecli.cli.console import show_progress
from tiecli.cli.options import (
    Checkpoint,
    DryRun,
    InPlace,
    Item,
    Json,
    KeptFilesOption,
    Link,
    NoSync,
    Output,
    Step,
    choose_target,
)
from tiecli.cli.showing import show_applied


def run_untie(
    checkpoint: Checkpoint,
    dst: Annotated[
        str | None, typer.Option("--dst", metavar="PATTERN", help="Only these aliases; without it, all of them.")
    ] = None,
    output: Output = None,
    in_place: InPlace = False,
    dry_run: DryRun = False,
    kept_files: KeptFilesOption = None,
    link: Link = False,
    no_sync: NoSync = False,
    step: Step = None,
    item: Item = None,
    as_json: Json = False,
) -> int:
    """Store aliases again: the inverse of tie.

    After `tie`, gives back the original files byte for byte. Also stores aliases
    that only save_model metadata or a tied config.json declares.

    Example: tiecli untie tied/ -o untied/
    """
    from tiecli.verbs.untie import untie

    target = choose_target(
        checkpoint, output, in_place=in_place, dry_run=dry_run, kept_files=kept_files, link=link, no_sync=no_sync
    )
    report = untie(checkpoint, target, select=dst, step=step, item=item, track=show_progress)
    return show_applied(report, as_json=as_json)
