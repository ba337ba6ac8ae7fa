"""`tiecli find`: which leaves are tied, whether or not anybody wrote it down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiecli.cli.console import show_json, show_lines, show_notice, show_progress
from tiecli.cli.options import Checkpoint, Item, Json, Step, write_text


def run_find(
    checkpoint: Checkpoint,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Write the ties that can be made here, for `tie --plan`."),
    ] = None,
    step: Step = None,
    item: Item = None,
    as_json: Json = False,
) -> int:
    """Find leaves that are, or should be, tied.

    Equal under some transform, or equal once and drifted apart since.

    Example: tiecli find model.safetensors --plan ties.json
    """
    from tiecli.checkpoints.protocol import Selection
    from tiecli.render.find import find_to_json, find_to_text, list_requests
    from tiecli.verbs.find import find

    selection = Selection(step, item)
    report = find(checkpoint, step=step, item=item, track=show_progress)
    if plan is not None:
        import json

        from tiecli.planfile import plan_to_json

        requests = list_requests(report)
        write_text(plan, json.dumps(plan_to_json(requests), ensure_ascii=False, indent=2) + "\n")
    if as_json:
        show_json(find_to_json(report, checkpoint, selection))
    else:
        show_lines(find_to_text(report, checkpoint, selection))
        if plan is not None:
            show_notice((("wrote", "good"), (f" {plan}", "")))
    return 0
