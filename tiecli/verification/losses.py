"""Losses: whether a tied model computes and trains like the untied one, by losses of the user's own.

Through the manifest's own transforms both sides agree whatever the transforms are. What is
seen here is whether the loss of the *stored* untied leaves, and their gradients, come out of
the tied ones; and, against a loss that knows the ties by itself, whether the transforms are
those that are meant: away from the stored point a symmetric leaf is symmetric no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import LossError
from tiecli.ties import TieSet
from tiecli.verification.devices import Device, float64, import_jax
from tiecli.verification.importing import working_directory_first
from tiecli.verification.looking import check_point
from tiecli.verification.programs import make_programs
from tiecli.verification.verdicts import Judgement, LossCheck, worst_of
from tiecli.verification.wholes import load_whole

PERTURBATIONS = 2
"""Points looked at beside the stored one."""


def check_losses(
    loss: str | None,
    reference: str | None,
    reader: CheckpointReader,
    original: CheckpointReader | None,
    ties: TieSet,
    device: Device | None = None,
) -> tuple[LossCheck, ...]:
    """Checks ties by losses of the user's own, at the stored point and at two near it.

    Args:
        loss: `module:function`, of the full tree and a PRNG key.
        reference: The same, of the tied tree, where aliases are missing: it ties by itself.
        reader: The tied checkpoint.
        original: The checkpoint before it was tied.
        ties: Ties whose statements hold.
        device: Where to compute; None for where jax would.

    Returns:
        One check a loss and point; none where no tie can be differentiated through.

    Raises:
        LossError: A loss cannot be imported, raises, gives no finite real number, or cannot
            be differentiated; or there is a reference and nothing to compare it with.
        TreeError: The leaves make no tree.
        CheckpointError: A leaf cannot be read.
    """
    if loss is None:
        raise LossError(
            f"`{reference}` is a loss of the tied tree, and there is none of the full tree to compare it with",
            "Add `--loss module:function`.",
        )
    with working_directory_first(), computing_on(device):
        whole = load_whole(reader, original, ties, device)
        programs = make_programs(whole, loss, reference)
        if not whole.groups:
            return ()
        return tuple(check for number in range(PERTURBATIONS + 1) for check in check_point(programs, number))


def conclude_losses(checks: Iterable[LossCheck], alias: str, kind: Literal["loss", "reference"]) -> Judgement | None:
    """Puts together what losses of one kind say of a tie at all points.

    A reference alone can tell between transforms that the bytes fit alike: what it passes, or
    fails, is no longer ambiguous.

    Args:
        checks: Those of `check_losses`.
        alias: The tie's alias, as people see it.
        kind: Which losses are asked.

    Returns:
        FAIL if it fails anywhere, VACUOUS if the loss ignores it everywhere, else PASS; None
        if it was not looked at.
    """
    judged = [found for check in checks if check.kind == kind and (found := dict(check.judgements).get(alias))]
    if not judged:
        return None
    telling = [judgement for judgement in judged if judgement.verdict != "VACUOUS"]
    return worst_of(telling or judged)


@contextmanager
def computing_on(device: Device | None) -> Iterator[None]:
    """Lets jax compute in float64 as exactly as it can, and put what nobody placed on the first of the devices."""
    jax = import_jax()
    with ExitStack() as stack:
        stack.enter_context(float64())
        stack.enter_context(jax.default_matmul_precision("highest"))
        if device is not None:
            stack.enter_context(jax.default_device(device.devices[0]))
        yield
