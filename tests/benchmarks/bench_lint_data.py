"""The linter's pass over all values against one that numpy makes over the same bytes, mapped.

python tests/benchmarks/bench_lint_data.py [FILE...]

Without a file, 1.5 GB as `generate.py big` makes them, without what it plants, and 20,000 small
leaves. `sum` adds all bytes up as 64-bit integers on one core. `statistics` is the pass behind
the rules about values; `all rules` opens the checkpoint, searches it and runs every rule on it.
The passes take turns, so that ratios hold on a machine whose speed drifts.
"""

from __future__ import annotations

import mmap
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from generate import Checkpoint, plan_big, plan_small, write_file

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import list_rules
from tiecli.linting.statistics import take_statistics
from tiecli.linting.subject import Subject

ROUNDS = 9
TARGET = 0.60


def add_up(file: Path) -> None:
    """Adds all bytes of a file up, mapped, as 64-bit integers."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        words = np.frombuffer(mapped, np.uint64, count=len(mapped) // 8)
        words.sum()
        del words


def take(file: Path) -> None:
    """Takes the statistics of every leaf."""
    with open_reader(file) as reader:
        take_statistics(reader)


def lint(file: Path) -> None:
    """Runs every default rule on a checkpoint."""
    (unit,) = find_units(file)
    subject = Subject(unit)
    try:
        outcome = run_rules(subject, [rule for rule in list_rules() if rule.default], data=True)
    finally:
        subject.close()
    assert not outcome.failures, outcome.failures


PASSES: dict[str, Callable[[Path], None]] = {"sum": add_up, "statistics": take, "all rules": lint}


def measure(file: Path) -> None:
    """Prints the table of one file."""
    nbytes = file.stat().st_size
    seconds: dict[str, list[float]] = {name: [] for name in PASSES}
    for turn in range(-1, ROUNDS):
        for name, act in PASSES.items():
            started = time.perf_counter()
            act(file)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    print(f"\n{file.name}: {nbytes / 1e9:.2f} GB, {ROUNDS} rounds")
    print(f"{'pass':<14}{'best GB/s':>12}{'median GB/s':>14}{'of best':>10}{'paired':>10}  target")
    for name, taken in seconds.items():
        pairs = [theirs / mine for mine, theirs in zip(taken, seconds["sum"], strict=True)]
        rates = [nbytes / 1e9 / best for best in (min(taken), statistics.median(taken))]
        ratio = min(seconds["sum"]) / min(taken)
        goal = f">= {TARGET:.2f}" if name != "sum" else ""
        print(f"{name:<14}{rates[0]:>12.2f}{rates[1]:>14.2f}{ratio:>10.2f}{statistics.median(pairs):>10.2f}  {goal}")


def without_copies(checkpoint: Checkpoint) -> Checkpoint:
    """Leaves out what was planted."""
    copies = {copy for _, copy in checkpoint.planted.values()}
    return Checkpoint(tuple(leaf for leaf in checkpoint.leaves if leaf.name not in copies), {})


def main(files: list[Path]) -> None:
    """Measures the files given, or two that are made for it."""
    for file in files:
        measure(file)
    if not files:
        with tempfile.TemporaryDirectory(prefix="bench-lint-") as directory:
            for name, checkpoint in (("big", plan_big(layers=18)), ("small", plan_small())):
                file = Path(directory) / f"{name}.safetensors"
                write_file(without_copies(checkpoint).leaves, file)
                measure(file)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
