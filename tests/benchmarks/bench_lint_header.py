"""`tiecli lint` at header level: checkpoints a second and core, and one large header against `json`.

python tests/benchmarks/bench_lint_header.py
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import tiecli
from tests.lint.building import llama, llama_config, write_json, write_raw, write_shards

MANY = 1_000
ROUNDS = 5


def measure(action: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Gives the least seconds of some rounds, after one that does not count; of this process's own time.

    The search for cycles is off, as in every command: with it, `json` takes twice as long.
    """
    action()
    seconds = []
    gc.disable()
    for _ in range(ROUNDS):
        started = clock()
        action()
        seconds.append(clock() - started)
    gc.enable()
    return min(seconds)


def write_model(directory: Path, leaves: int, step: int = 0) -> Path:
    """Writes a sound Llama of so many leaves, or a few more, with its config; its data is a hole."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", "step": str(step)}}
    end = 0
    for name, leaf in llama(leaves // 4).items():
        assert isinstance(leaf, tuple)
        begin, end = end, end + 2 * math.prod(leaf[1])
        header[name] = {"dtype": leaf[0], "shape": list(leaf[1]), "data_offsets": [begin, end]}
    path = write_raw(directory / "model.safetensors", header, b"")
    os.truncate(path, path.stat().st_size + end)
    write_json(directory / "config.json", llama_config(num_hidden_layers=leaves // 4))
    return directory


def write_sharded(directory: Path, leaves: int, count: int) -> Path:
    """Writes the same in so many shards."""
    whole = list(llama(leaves // 4).items())
    step = -(-len(whole) // count)
    parts = [dict(whole[start : start + step]) for start in range(0, len(whole), step)]
    names = [f"model-{number:05}-of-{len(parts):05}.safetensors" for number in range(1, len(parts) + 1)]
    write_shards(directory, dict(zip(names, parts, strict=True)))
    write_json(directory / "config.json", llama_config(num_hidden_layers=leaves // 4))
    return directory


def write_many(directory: Path, write: Callable[[Path], object]) -> Path:
    """Writes many like one, sharing their weights by hard links."""
    first = directory / "0000"
    write(first)
    for number in range(1, MANY):
        place = directory / f"{number:04}"
        place.mkdir()
        for file in first.iterdir():
            (place / file.name).hardlink_to(file)
    return directory


def lint(path: Path, **options: object) -> None:
    """Lints, and checks that there is nothing to find, so that all rules run to their end."""
    report = tiecli.lint([path], tiecli.LintOptions(**options))  # type: ignore[arg-type]
    assert not report.findings, report.findings[:3]
    assert not report.failures, report.failures[:3]


def show_rates(directory: Path) -> None:
    """Prints how many checkpoints of 400 leaves are linted in a second."""
    different = directory / "different"
    for number in range(MANY):
        write_model(different / f"{number:04}", 400, number)
    kinds = {
        "headers that all differ": different,
        "headers alike": write_many(directory / "single", lambda place: write_model(place, 400)),
        "4 shards": write_many(directory / "sharded", lambda place: write_sharded(place, 400, 4)),
    }
    print(f"{MANY:,} checkpoints of 400 leaves{'a second and core':>24}{'with --jobs 2, a second':>28}   target: 1,000")
    for kind, place in kinds.items():
        alone = measure(lambda place=place: lint(place))
        together = measure(lambda place=place: lint(place, jobs=2), time.perf_counter)
        print(f"  {kind:<30}{MANY / alone:>18,.0f}{MANY / together:>28,.0f}")


def show_ratios(directory: Path) -> None:
    """Prints how long large headers take, against parsing their JSON."""
    print(f"\n{'one checkpoint':<28}{'lint ms':>10}{'json ms':>10}{'ratio':>8}   target: 3")
    for leaves in (400, 20_000, 200_000):
        path = write_model(directory / f"large{leaves}", leaves)
        raw = (path / "model.safetensors").read_bytes()
        header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
        parsing = measure(lambda header=header: json.loads(header))
        linting = measure(lambda path=path: lint(path))
        print(f"  {leaves:>9,} leaves{linting * 1000:>20.2f}{parsing * 1000:>10.2f}{linting / parsing:>8.2f}")


def main() -> None:
    """Prints both tables."""
    with tempfile.TemporaryDirectory() as name:
        show_rates(Path(name))
        show_ratios(Path(name))


if __name__ == "__main__":
    main()
