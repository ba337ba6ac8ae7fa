"""Measuring whole commands in turn, so that ratios hold on a machine whose speed drifts."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Command = Sequence[str]
Prepare = Callable[[], None]


@dataclass
class Runs:
    """The finished runs of one command."""

    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)


def run_once(command: Command) -> tuple[float, int]:
    """Runs a command and gives its wall seconds and its peak resident bytes.

    Raises:
        RuntimeError: It failed; a benchmark of a failing command says nothing.
    """
    silent = os.open(os.devnull, os.O_WRONLY)
    started = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, silent, 1), (os.POSIX_SPAWN_DUP2, silent, 2)]
    # As installed: without it, every run would compile tiecli anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = os.posix_spawnp(command[0], list(command), environment, file_actions=actions)
    _, status, usage = os.wait4(child, 0)
    elapsed = time.perf_counter() - started
    os.close(silent)
    if status:
        raise RuntimeError(f"failed with status {status}: {' '.join(command)}")
    return elapsed, usage.ru_maxrss * 1024


def run_in_turn(
    commands: Mapping[str, Command], prepare: Callable[[str], None], rounds: int = 7, warmups: int = 1
) -> dict[str, Runs]:
    """Runs all commands once a round, in an order that changes, since some leave memory in a worse state.

    Args:
        commands: By the name they are shown under.
        prepare: Called with the name before each run, outside the clock.
        rounds: Counted rounds.
        warmups: Rounds before those.
    """
    runs = {name: Runs() for name in commands}
    dice = random.Random(rounds)
    for turn in range(-warmups, rounds):
        for name, command in dice.sample(list(commands.items()), len(commands)):
            prepare(name)
            seconds, peak = run_once(command)
            if turn >= 0:
                runs[name].seconds.append(seconds)
                runs[name].peak_bytes.append(peak)
    return runs


def show_ratios(title: str, runs: Mapping[str, Runs], reference: str, targets: Mapping[str, str] | None = None) -> None:
    """Prints a table: seconds, peak memory, and the ratio to the reference run of the same round.

    Args:
        title: What was measured.
        runs: As `run_in_turn` gives them.
        reference: The command that others are held against.
        targets: What was hoped for, by name.
    """
    print(f"\n{title}")
    heads = ("min s", "median s", "peak MiB", "of medians", "of minima", "paired", "[min..max]")
    print(f"{'command':<26}" + "".join(f"{head:>12}" for head in heads) + "  target")
    base = runs[reference].seconds
    for name, run in runs.items():
        pairs = [mine / theirs for mine, theirs in zip(run.seconds, base, strict=True)]
        middle = statistics.median(run.seconds)
        figures = (min(run.seconds), middle)
        ratios = (middle / statistics.median(base), min(run.seconds) / min(base), statistics.median(pairs))
        print(
            f"{name:<26}"
            + "".join(f"{figure:12.3f}" for figure in figures)
            + f"{max(run.peak_bytes) / 2**20:12.0f}"
            + "".join(f"{ratio:12.2f}" for ratio in ratios)
            + f"{f'[{min(pairs):.2f}..{max(pairs):.2f}]':>14}  {(targets or {}).get(name, '')}"
        )
