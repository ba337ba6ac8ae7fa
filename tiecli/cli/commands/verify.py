"""`tiecli verify`: whether a tied checkpoint computes, and trains, as it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiecli.cli.console import show_json, show_lines, show_notice, show_progress
from tiecli.cli.exits import ExitCode
from tiecli.cli.options import Checkpoint, Item, Json, Step, require_free, write_text
from tiecli.cli.verifying import (
    Allow,
    Coordinator,
    Html,
    Kind,
    Loss,
    Mesh,
    NumProcesses,
    Optimizer,
    OptimizerOption,
    Original,
    ProcessId,
    ReferenceLoss,
    Steps,
)

if TYPE_CHECKING:
    from tiecli.verification.verdicts import Verdict


def run_verify(
    checkpoint: Checkpoint,
    original: Original = None,
    loss: Loss = None,
    reference_loss: ReferenceLoss = None,
    steps: Steps = 0,
    optimizer: OptimizerOption = Optimizer.SGD,
    allow: Allow = [],  # noqa: B006  # typer reads the default, nobody changes it
    device: Kind = None,
    mesh: Mesh = None,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    html: Html = None,
    step: Step = None,
    item: Item = None,
    as_json: Json = False,
) -> int:
    """Prove that a tied checkpoint computes and trains as it says.

    Bytes, ambiguity, adjoints and gradients of every tie; exits 1 unless all pass.
    Needs jax: pip install 'tiecli[verify]'.

    Example: tiecli verify tied/ --original model/ --html verify.html
    """
    from tiecli.render.verify import verify_to_json, verify_to_text
    from tiecli.verbs.verify import Computing, Exercise, verify

    # Of several processes, none may leave before the others have met it.
    if html is not None and coordinator is None:
        require_free(html)
    allowed: list[Verdict] = ["AMBIGUOUS" for _ in allow[:1]]
    report = verify(
        checkpoint,
        original,
        exercise=Exercise(loss, reference_loss, steps, optimizer.value),
        computing=Computing(device.value if device else None, mesh, coordinator, num_processes, process_id),
        allow=allowed,
        pictures=html is not None,
        step=step,
        item=item,
        track=show_progress,
    )
    code = ExitCode.OK if report.passed else ExitCode.NO
    if process_id:
        # The first process speaks for all.
        return code
    if html is not None:
        from tiecli.render.html import verify_to_html

        write_text(html, verify_to_html(report))
    if as_json:
        show_json(verify_to_json(report))
    else:
        show_lines(verify_to_text(report))
        if html is not None:
            show_notice((("wrote", "good"), (f" {html}", "")))
    return code
