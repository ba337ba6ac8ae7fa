"""`tiecli copy`: values of one checkpoint put in the place of another's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiecli.cli.console import show_json, show_lines, show_notice, show_progress
from tiecli.cli.options import (
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

Source = Annotated[Path, typer.Argument(metavar="SRC", help="Where values come from: safetensors or Orbax.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="Where they go; of either format, or SRC itself.")]
Maps = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        "-m",
        metavar="'DST=SRC | T'",
        help="Which leaf gets the values of which, under a transform; both may be patterns. Repeatable. "
        "Without it, every leaf that both have by name.",
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse where a leaf of either side is left over, or does not fit.")
]
SourceStep = Annotated[int | None, typer.Option("--src-step", metavar="N", min=0, help="Orbax: which step of SRC.")]
SourceItem = Annotated[str | None, typer.Option("--src-item", metavar="NAME", help="Orbax: which item of SRC.")]


def run_copy(
    source: Source,
    destination: Destination,
    maps: Maps = None,
    output: Output = None,
    in_place: InPlace = False,
    dry_run: DryRun = False,
    strict: Strict = False,
    kept_files: KeptFilesOption = None,
    link: Link = False,
    no_sync: NoSync = False,
    src_step: SourceStep = None,
    src_item: SourceItem = None,
    step: Step = None,
    item: Item = None,
    as_json: Json = False,
) -> int:
    """Copy values from one checkpoint into another; nothing is tied by it.

    OUT is DST with new values. Shapes and dtypes stay those of DST.

    Example: tiecli copy encoder.safetensors model/ --map 'decoder.kernel=encoder.kernel | transpose' -o out/
    """
    from tiecli.checkpoints.protocol import Selection
    from tiecli.copies import parse_map
    from tiecli.render.copy import copy_to_json, copy_to_notices, copy_to_text
    from tiecli.verbs.copy import copy

    target = choose_target(
        destination, output, in_place=in_place, dry_run=dry_run, kept_files=kept_files, link=link, no_sync=no_sync
    )
    report = copy(
        source,
        destination,
        [parse_map(text) for text in maps or ()],
        target,
        strict=strict,
        source_selection=Selection(src_step, src_item),
        selection=Selection(step, item),
        track=show_progress,
    )
    if as_json:
        show_json(copy_to_json(report))
    else:
        show_lines(copy_to_text(report))
        show_notice(*copy_to_notices(report))
    return 0
