"""`tiecli tie`: keep one leaf, write down how the other follows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    Mode,
    NoSync,
    Output,
    Step,
    choose_target,
    read_text,
)
from tiecli.cli.showing import show_applied
from tiecli.errors import UsageError

if TYPE_CHECKING:
    from tiecli.plan import TieRequest


class Keep(StrEnum):
    """Sides of a tie."""

    SRC = "src"
    DST = "dst"


KeepOption = Annotated[
    Keep | None,
    typer.Option("--keep", help="Where the two differ, whose values survive; without it they are refused."),
]
ModeOption = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="Orbax: `alias` lets DST stay, as a second name of the bytes of SRC, so that a restore finds both; "
        "`omit` drops it.",
        show_default="alias where the transform allows it",
    ),
]


class State(StrEnum):
    """What to do with optimizer state."""

    CARRY = "carry"
    RESET = "reset"


StateOption = Annotated[
    State,
    typer.Option(
        "--state",
        help="What an optimizer keeps for the leaves: carry it across by the rules of docs/optimizer-state.md, "
        "refusing what has none, or reset all of it with its counts.",
    ),
]
ParametersOption = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="CKPT",
        help="The checkpoint that holds the leaves, where the one given holds their optimizer's state alone; "
        "without --src, the ties that it records.",
    ),
]


SrcOption = Annotated[
    list[str], typer.Option("--src", metavar="PATTERN", help="The canonical leaf, which stays stored. Repeatable.")
]
DstOption = Annotated[
    list[str], typer.Option("--dst", metavar="PATTERN", help="The alias, which follows from it: DST := T(SRC).")
]
TransformOption = Annotated[
    list[str],
    typer.Option("--transform", metavar="T", help="How it follows, such as transpose or '[:50257]'. Once a --src."),
]
PlanOption = Annotated[
    Path | None, typer.Option("--plan", metavar="FILE", help="Take the ties from a file that `find --plan` wrote.")
]
AutoOption = Annotated[
    bool, typer.Option("--auto", help="Tie every identical or transposed pair that `find` reports as unambiguous.")
]


def run_tie(
    checkpoint: Checkpoint,
    src: SrcOption = [],  # noqa: B006  # typer reads the default, nobody changes it
    dst: DstOption = [],  # noqa: B006
    transform: TransformOption = [],  # noqa: B006
    plan: PlanOption = None,
    auto: AutoOption = False,
    keep: KeepOption = None,
    mode: ModeOption = None,
    state: StateOption = State.CARRY,
    params: ParametersOption = None,
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
    """Tie leaves: drop DST, let it follow from SRC.

    DST is dropped only where it is proved equal to T(SRC), bit for bit.
    Without -o or --in-place, shows what would happen.

    Example: tiecli tie gpt2/ --src transformer.wte.weight --dst lm_head.weight -o tied/
    """
    from tiecli.verbs.tie import tie

    requests = _pair_options(src, dst, transform)
    if plan is not None:
        from tiecli.planfile import parse_plan

        requests += parse_plan(read_text(plan), plan.name)
    if auto:
        requests += _find_requests(params) if params else _find_requests(checkpoint, step, item)
    target = choose_target(
        checkpoint, output, in_place=in_place, dry_run=dry_run, kept_files=kept_files, link=link, no_sync=no_sync
    )
    report = tie(
        checkpoint,
        requests,
        target,
        keep=keep.value if keep else None,
        mode=mode.value if mode else None,
        state=state.value,
        parameters=params,
        step=step,
        item=item,
        track=show_progress,
    )
    return show_applied(report, as_json=as_json)


def _pair_options(src: list[str], dst: list[str], transforms: list[str]) -> list[TieRequest]:
    from tiecli.plan import TieRequest
    from tiecli.transforms import Transform

    if len(src) != len(dst):
        raise UsageError(
            f"{len(src)} --src and {len(dst)} --dst, expected as many of each", "Each --src is followed by its --dst."
        )
    if transforms and len(transforms) != len(src):
        raise UsageError(
            f"{len(transforms)} --transform for {len(src)} --src, expected none or one each",
            "Say --transform same for those that need none.",
        )
    parsed = [Transform.parse(text) for text in transforms] if transforms else [None] * len(src)
    return [TieRequest(*request) for request in zip(src, dst, parsed, strict=True)]


def _find_requests(checkpoint: Path, step: int | None = None, item: str | None = None) -> list[TieRequest]:
    """Finds the pairs that `--auto` ties."""
    from tiecli.plan import TieRequest
    from tiecli.verbs.find import find

    report = find(checkpoint, step=step, item=item, track=show_progress)
    hits = [hit for hit in report.hits if hit.kind in ("identical", "transposed")]
    if not hits:
        raise UsageError(
            f"`{checkpoint}` has no identical or transposed pair that --auto could tie",
            "`tiecli find` shows every kind of hit.",
        )
    return [TieRequest(hit.canonical, hit.alias, hit.transform) for hit in hits]
