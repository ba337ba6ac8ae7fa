"""Training: whether tied leaves train as untied ones whose gradients are summed, and how far untied ones drift."""

from __future__ import annotations

from math import isfinite, sqrt

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import LossError, UsageError
from tiecli.ties import TieSet
from tiecli.verification.devices import Device
from tiecli.verification.importing import blaming, import_function, working_directory_first
from tiecli.verification.losses import computing_on
from tiecli.verification.precision import epsilon_of, narrowest_float
from tiecli.verification.programs import tie_loss
from tiecli.verification.runs import Optimizer, Run, Seen, State, Training
from tiecli.verification.samples import probe_loss, sample_ties
from tiecli.verification.verdicts import Trajectory
from tiecli.verification.wholes import load_whole

RATE = 1e-3
"""How far a step moves leaves, relative to their root mean square."""

# How far rounding may take two runs apart at a step, in steps: of a gradient that is all
# rounding, adaptive optimizers make a part of a step, `sqrt(epsilon)` with the epsilon they get here.
_SLACK = 64


def check_training(
    steps: int,
    optimizer: Optimizer,
    loss: str | None,
    reader: CheckpointReader,
    ties: TieSet,
    device: Device | None = None,
) -> Trajectory | None:
    """Trains a tied model, and the same untied, for some steps.

    Tied and untied with summed gradients they stay together, within rounding; untied with
    each leaf's own gradient they drift apart, which is shown beside it.

    Args:
        steps: How many.
        optimizer: `sgd`, `adam` or `adamw`, with a rate that goes with the size of leaves and gradients.
        loss: `module:function`, of the full tree and a PRNG key: all float leaves are
            trained. Without it a loss of the tied leaves alone; of large ones, of a corner.
        reader: The tied checkpoint.
        ties: Ties whose statements hold.
        device: Where to compute; None for where jax would.

    Returns:
        How training went; None where no tie can be differentiated through. After no step at
        all where all leaves are too large, and no part of them can be taken.

    Raises:
        UsageError: optax is not installed.
        LossError: The loss cannot be imported, raises, gives no finite real number, or
            cannot be differentiated.
        CheckpointError: A leaf cannot be read.
    """
    _require_optax()
    with working_directory_first(), computing_on(device):
        notes: tuple[str, ...] = ()
        name = loss or "the probe's loss"
        if loss is None:
            whole, notes = sample_ties(reader, ties, device)
            untied, tied = tie_loss(whole, name, probe_loss)
        else:
            whole = load_whole(reader, None, ties, device)
            untied, tied = tie_loss(whole, name, import_function(loss))
        if not any(leaf.size for leaf in whole.canonicals.values()):
            return Trajectory(optimizer, 0, (), (), True, name, notes) if notes else None
        training = Training(whole, untied, tied, optimizer)
        epsilon = _find_epsilon(training)
        seen = _train(training, steps, epsilon)
    tied_apart, naive_apart = ([float(found / size) for found, size in pairs] for pairs in seen)
    bound = steps * RATE * _SLACK * (_SLACK * epsilon if optimizer == "sgd" else sqrt(epsilon))
    holds = all(apart <= bound for apart in tied_apart)
    return Trajectory(optimizer, steps, tuple(tied_apart), tuple(naive_apart), holds, name, notes)


def _find_epsilon(training: Training) -> float:
    """Finds how exactly the loss computes."""
    import jax

    leaves = training.whole.canonicals | training.free
    with blaming(training.tied.name, "raised"):
        jaxpr = jax.make_jaxpr(training.tied.compute)(leaves, training.rest, jax.random.key(0))
    return epsilon_of(narrowest_float(jaxpr))


def _train(
    training: Training, steps: int, epsilon: float
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    import jax

    name, rest, key = training.tied.name, training.rest, jax.random.key(0)
    with blaming(name, "cannot be differentiated:"):
        # A step of no length tells how large gradients are; its memory is forgotten.
        state, first = training.advance(training.start(), rest, key, 0.0, 1.0)
        state = State(*(Run(run.leaves, training.remember(run.leaves)) for run in state))
    rate = _choose_rate(training.optimizer, first)
    tied: list[tuple[float, float]] = []
    naive: list[tuple[float, float]] = []
    for step in range(steps):
        with blaming(name, "raised"):
            found = jax.random.fold_in(key, step)
            state, seen = training.advance(state, rest, found, rate, sqrt(epsilon) * first.gradients.largest)
        if not isfinite(seen.loss):
            count = f"{step} step" if step == 1 else f"{step} steps"
            raise LossError(f"`{name}` is {float(seen.loss)} after {count} of {training.optimizer}")
        tied.append((seen.tied_apart, seen.leaves.largest))
        naive.append((seen.naive_apart, seen.leaves.largest))
    return tied, naive


def _choose_rate(optimizer: Optimizer, seen: Seen) -> float:
    size, slope = float(seen.leaves.mean) or 1.0, float(seen.gradients.mean) or 1.0
    # What adapts to the size of gradients moves each element by about the rate.
    return RATE * size / slope if optimizer == "sgd" else RATE * size


def _require_optax() -> None:
    try:
        import optax  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "training steps are taken with optax, which is not installed here", "Run `pip install 'tiecli[verify]'`."
        ) from error
