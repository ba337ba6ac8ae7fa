"""`tiecli verify`: how fast its kernels are, how long it takes as a whole, and how much memory.

    python tests/benchmarks/generate.py big MODEL --layers 28 --vocabulary 139264
    tiecli tie MODEL --src model.embed_tokens.weight --dst lm_head.weight -o TIED
    python tests/benchmarks/bench_verify.py kernels [--device gpu]
    python tests/benchmarks/bench_verify.py whole TIED MODEL [--rounds N]

`kernels`: one tie, its tiles on the device already, its kernel compiled. Counted are the
float64 bytes of the leaves that the probe takes: the canonical leaf on both sides and the
alias of the original, 24 bytes an element, however narrow they are stored. That rate is held
against a jitted sum of as many float64 bytes, which reads them and does nothing else; the
two take turns, since machines drift. As many tiles run at once as in the probe.

`whole`: the command against a fresh Python that reads the files' bytes through numpy and
imports jax.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from measure import run_in_turn, show_ratios

READ = """
import sys
import numpy as np
block = np.empty(64 << 20, np.uint8)
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        while file.readinto(block.data):
            pass
import jax
"""
_AT_ONCE = 2
_TIES = ("same", "transpose", "scale(0.5)", "[:, 64:]", "cast(bf16)")


def best_of(run: Callable[[], object], others: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Runs two things in turn: the best seconds of each, and the median of their ratio."""
    mine, theirs = [], []
    for turn in range(rounds + 1):
        for clock, one in ((theirs, others), (mine, run)):
            started = time.perf_counter()
            one()
            if turn:
                clock.append(time.perf_counter() - started)
    return min(mine), min(theirs), statistics.median(b / a for a, b in zip(mine, theirs, strict=True))


def load_tiles(transform: str, dtype: str, device: Any, count: int) -> tuple[Any, list[Any]]:
    """Makes a tie of a leaf of 128 Mi elements, and gives a kernel's plan and its first tiles."""
    from tiecli.keypaths import KeyPath
    from tiecli.leaves import LeafSpec, find_dtype
    from tiecli.ties import Tie
    from tiecli.transforms import Transform
    from tiecli.transforms.casts import numpy_dtype
    from tiecli.verification.loading import Sources, TileLoader
    from tiecli.verification.measuring import tile_size
    from tiecli.verification.views import list_jobs

    stored = find_dtype(dtype)
    assert stored is not None
    canonical, alias = KeyPath(("w",)), KeyPath(("alias",))
    tie = Tie(alias, (canonical,), Transform.parse(transform))
    spec = LeafSpec((65536, 2048), stored)
    specs = {canonical: spec, alias: tie.transform.spec([spec])}
    pool = np.random.default_rng(0).standard_normal(1 << 22).astype(np.float32) * np.float32(0.02)

    class Drawn:
        """A checkpoint of random numbers."""

        def specs(self) -> Any:
            return specs

        def read_into(self, path: Any, offset: int, buffer: memoryview) -> None:
            values = np.frombuffer(buffer, numpy_dtype(specs[path].dtype))
            values[...] = np.resize(pool, values.shape)

        def read_block(self, path: Any, box: Any) -> NDArray[Any]:
            shape = [stop - start for start, stop in box]
            return np.resize(pool, shape).astype(numpy_dtype(specs[path].dtype))

    reader: Any = Drawn()
    runs = list(list_jobs([tie], specs, tile_size(device, spec.size), wide=device.platform != "tpu"))
    loader = TileLoader(Sources(reader, reader), count)
    jobs = [run[0] for run in runs[:count]]
    return jobs[0].plan, [loader.load(job) for job in jobs]


def bench_kernels(name: str | None, rounds: int) -> None:
    """Prints the rates of kernels."""
    import jax
    import jax.numpy as jnp

    from tiecli.verification.devices import choose_device, float64
    from tiecli.verification.kernels import compile_for, measure_tile

    device = choose_device(name, "1")
    print(f"{device.describe()}, {device.devices[0].device_kind}")
    print(
        f"{'tie':<14}{'stored':>7}{'compile s':>11}{'probe GB/s':>12}{'plain GB/s':>12}{'of minima':>11}{'median':>8}"
    )
    with float64(), ThreadPoolExecutor(_AT_ONCE) as pool:
        for transform in _TIES:
            for dtype in ("bf16", "f32"):
                plan, tiles = load_tiles(transform, dtype, device, 16 if device.platform == "cpu" else 4)
                placed = [jax.device_put(tile, device.devices[0]) for tile in tiles]
                started = time.perf_counter()
                kernel = compile_for(jax.jit(partial(measure_tile, plan)).lower(placed[0]), device)
                compiled = time.perf_counter() - started
                nbytes = len(tiles) * 24 * prod(plan.sources[0].tile)
                words = [jnp.ones(nbytes // 8 // _AT_ONCE) for _ in range(_AT_ONCE)]
                total = jax.jit(jnp.sum).lower(words[0]).compile()

                def run(kernel: Any = kernel, placed: Any = placed) -> None:
                    halves = [placed[at::_AT_ONCE] for at in range(_AT_ONCE)]
                    list(pool.map(lambda half: [np.asarray(kernel(tile)) for tile in half], halves))

                def plain(total: Any = total, words: Any = words) -> None:
                    list(pool.map(lambda part: np.asarray(total(part)), words))

                mine, theirs, median = best_of(run, plain, rounds)
                rates = f"{nbytes / mine / 1e9:12.1f}{nbytes / theirs / 1e9:12.1f}{theirs / mine:11.2f}{median:8.2f}"
                print(f"{transform:<14}{dtype:>7}{compiled:11.2f}{rates}")


def bench_whole(tied: Path, original: Path, rounds: int) -> None:
    """Prints seconds and memory of the command."""
    from tiecli.checkpoints import open_reader

    with open_reader(tied) as reader:
        manifest, specs = reader.manifest(), reader.specs()
        assert manifest is not None
        largest = max(specs[path].nbytes for tie in manifest.ties for path in tie.canonicals)
    tiecli = str(Path(sys.executable).with_name("tiecli"))
    read = [sys.executable, "-c", READ, str(tied)]
    alone = {"read + jax": read, "verify": [tiecli, "verify", str(tied)]}
    runs = run_in_turn(alone, lambda _: None, rounds)
    show_ratios("without the original", runs, "read + jax", {"verify": "≤ 3"})
    beside = {
        "read both + jax": [*read, str(original)],
        "verify --original": [tiecli, "verify", str(tied), "--original", str(original)],
    }
    both = run_in_turn(beside, lambda _: None, rounds)
    show_ratios("with the original", both, "read both + jax", {"verify --original": "≤ 3"})
    peak = max(*runs["verify"].peak_bytes, *both["verify --original"].peak_bytes)
    print(f"\npeak memory {peak / 2**20:.0f} MiB, {peak / largest:.2f} times the largest tied leaf (target ≤ 6)")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kernels", "whole"))
    parser.add_argument("files", type=Path, nargs="*", help="of `whole`: the tied file and the original")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if options.what == "kernels":
        bench_kernels(options.device, options.rounds)
    else:
        bench_whole(*options.files, options.rounds)


if __name__ == "__main__":
    main()
