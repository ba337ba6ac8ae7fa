"""Options of `verify`, worded apart from the command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Optimizer(StrEnum):
    """What `--steps` trains with."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class DeviceKind(StrEnum):
    """Where gradients are computed."""

    CPU = "cpu"
    GPU = "gpu"
    TPU = "tpu"


class Allowed(StrEnum):
    """Verdicts that can be declared acceptable."""

    AMBIGUOUS = "ambiguous"


Original = Annotated[
    Path | None,
    typer.Option("--original", metavar="ORIG", help="The checkpoint before it was tied; else recorded digests."),
]
Loss = Annotated[
    str | None,
    typer.Option("--loss", metavar="M:F", help="Your loss of the full tree and a key, as module:function."),
]
ReferenceLoss = Annotated[
    str | None,
    typer.Option("--reference-loss", metavar="M:F", help="Your loss of the tied tree, tied by itself."),
]
Steps = Annotated[int, typer.Option("--steps", min=0, help="Train for so many steps, tied and otherwise.")]
OptimizerOption = Annotated[Optimizer, typer.Option("--optimizer", help="What to train with.")]
Allow = Annotated[
    list[Allowed], typer.Option("--allow", help="Accept this verdict: the transform is what you say it is.")
]
Kind = Annotated[DeviceKind | None, typer.Option("--device", help="Where gradients are computed.")]
Mesh = Annotated[
    str | None, typer.Option("--mesh", metavar="N", help="How many local devices, such as 4 or 2x4; else all.")
]
Coordinator = Annotated[
    str | None, typer.Option("--coordinator", metavar="HOST:PORT", help="The first of several processes.")
]
NumProcesses = Annotated[int | None, typer.Option("--num-processes", min=1, help="How many there are.")]
ProcessId = Annotated[int | None, typer.Option("--process-id", min=0, help="Which one this is, from 0.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as one page.")]
