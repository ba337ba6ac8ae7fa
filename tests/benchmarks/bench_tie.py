"""`tiecli tie` and `untie` against `cp`, and against the scripts that they replace.

    python tests/benchmarks/bench_tie.py FILE [--canonical NAME --alias NAME] [--rounds N] [--scripts]

FILE as `generate.py big` writes it. Outputs go beside it and are removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import run_in_turn, show_ratios

TORCH = """
import sys
from safetensors.torch import load_file, save_file
leaves = load_file(sys.argv[1]); del leaves[sys.argv[3]]; save_file(leaves, sys.argv[2], metadata={"format": "pt"})
"""
NUMPY = """
import sys, ml_dtypes
from safetensors.numpy import load_file, save_file
leaves = load_file(sys.argv[1]); del leaves[sys.argv[3]]; save_file(leaves, sys.argv[2], metadata={"format": "pt"})
"""


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--canonical", default="model.embed_tokens.weight")
    parser.add_argument("--alias", default="lm_head.weight")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scripts", action="store_true", help="also run the torch and numpy scripts")
    options = parser.parse_args()
    source, out, tied = (
        options.file,
        options.file.with_name("out.safetensors"),
        options.file.with_name("tied.safetensors"),
    )
    tiecli = str(Path(sys.executable).with_name("tiecli"))
    tie = [tiecli, "tie", str(source), "--src", options.canonical, "--dst", options.alias, "-o"]

    def prepare(name: str) -> None:
        # Virtual machines may hand freed memory back to their host a second or two after it was
        # freed, and whoever writes next pays for getting it back: so start at once.
        os.sync()
        out.unlink(missing_ok=True)

    if not tied.exists():
        run_in_turn({"tie": [*tie, str(tied)]}, lambda _: None, rounds=1, warmups=0)
    unsynced = {
        "cp": ["cp", str(source), str(out)],
        "tie --no-sync": [*tie, str(out), "--no-sync"],
        "untie --no-sync": [tiecli, "untie", str(tied), "-o", str(out), "--no-sync"],
    }
    synced = {
        "cp + sync": ["sh", "-c", f"cp '{source}' '{out}' && sync '{out}'"],
        "tie": [*tie, str(out)],
        "untie": [tiecli, "untie", str(tied), "-o", str(out)],
    }
    show_ratios(
        "not synced",
        run_in_turn(unsynced, prepare, options.rounds),
        "cp",
        {"tie --no-sync": "≤ 0.95", "untie --no-sync": "≤ 0.95"},
    )
    show_ratios(
        "synced", run_in_turn(synced, prepare, options.rounds), "cp + sync", {"tie": "≤ 0.75", "untie": "≤ 0.75"}
    )
    if options.scripts:
        scripts = {
            "tie --no-sync": unsynced["tie --no-sync"],
            "torch load + save": [sys.executable, "-c", TORCH, str(source), str(out), options.alias],
            "numpy load + save": [sys.executable, "-c", NUMPY, str(source), str(out), options.alias],
        }
        targets = {"torch load + save": "≥ 2.5", "numpy load + save": "≥ 8"}
        show_ratios("what it replaces", run_in_turn(scripts, prepare, 3), "tie --no-sync", targets)
    out.unlink(missing_ok=True)
    tied.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
