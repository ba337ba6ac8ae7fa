"""`tiecli` on Orbax checkpoints against `cp -r`, and against the Orbax scripts that it replaces.

    python tests/benchmarks/bench_orbax.py CHECKPOINT... [--only inspect|tie|script|find]... [--rounds N]

CHECKPOINT as `generate_orbax.py` writes it. Outputs go beside it and are removed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import Command, run_in_turn, show_ratios

os.environ["JAX_PLATFORMS"] = "cpu"

METADATA = """
import sys, logging
logging.disable(logging.WARNING)
import jax
import orbax.checkpoint as ocp
tree = ocp.PyTreeCheckpointer().metadata(sys.argv[1]).item_metadata.tree
for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    print(jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
"""
METADATA_V1 = """
import sys, logging
logging.disable(logging.WARNING)
import jax
from orbax.checkpoint.experimental import v1 as ocp
tree = ocp.metadata(sys.argv[1]).metadata
for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    print(jax.tree_util.keystr(path), leaf.shape, leaf.dtype)
"""
AS_NUMPY = """
import sys, warnings, logging
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import jax, numpy as np
import orbax.checkpoint as ocp
with ocp.PyTreeCheckpointer() as checkpointer:
    found = checkpointer.metadata(sys.argv[1]).item_metadata.tree
    asked = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), found)
    tree = checkpointer.restore(sys.argv[1], restore_args=asked)
"""
AS_JAX = """
import sys, warnings, logging
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import orbax.checkpoint as ocp
with ocp.PyTreeCheckpointer() as checkpointer:
    tree = checkpointer.restore(sys.argv[1])
"""
SAVE = """
*parents, last = sys.argv[3].split(".")
node = tree
for key in parents:
    node = node[key]
del node[last]
with ocp.PyTreeCheckpointer() as checkpointer:
    checkpointer.save(sys.argv[2], tree)
"""
HASH = """
from xxhash import xxh3_128_hexdigest
equal = {}
for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    equal.setdefault(xxh3_128_hexdigest(leaf.view(np.uint8).data), []).append(path)
print([paths for paths in equal.values() if len(paths) > 1])
"""
TIECLI = str(Path(sys.executable).with_name("tiecli"))


def run_python(script: str, *arguments: object) -> Command:
    """A command that runs a script."""
    return [sys.executable, "-c", script, *map(str, arguments)]


def warm(checkpoint: Path) -> None:
    """Reads every file of a checkpoint, so that all of it is in the page cache."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as stream:
                while stream.read(1 << 20):
                    pass


class Outputs:
    """Where the commands of one table write, beside their source."""

    def __init__(self, source: Path, ties: tuple[str, str]) -> None:
        self.source, self.ties = source, ties
        self.out, self.tied = source.with_name("bench-out"), source.with_name("bench-tied")

    def tie(self, out: Path, *options: str, mode: str = "omit") -> Command:
        """The command that ties the planted copy."""
        src, dst = self.ties
        named = ["--src", src, "--dst", dst, "--transform", "same"]
        return [TIECLI, "tie", str(self.source), *named, "-o", str(out), "--mode", mode, *options]

    def prepare(self, _: str) -> None:
        """Starts anew, with nothing left to be written to the disk."""
        shutil.rmtree(self.out, ignore_errors=True)
        os.sync()

    def close(self) -> None:
        """Removes them."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.rmtree(self.tied, ignore_errors=True)


def bench_inspect(outputs: Outputs, rounds: int) -> None:
    """Prints what it takes to list the leaves, in a fresh process each."""
    source = outputs.source
    commands = {
        "python -c pass": run_python("pass"),
        "orbax metadata": run_python(METADATA, source),
        "orbax v1 metadata": run_python(METADATA_V1, source),
        "tiecli inspect": [TIECLI, "inspect", str(source)],
        "tiecli inspect --table": [TIECLI, "inspect", str(source), "--table"],
        "tiecli inspect --json": [TIECLI, "inspect", str(source), "--json"],
    }
    show_ratios(f"{source}: inspect", run_in_turn(commands, lambda _: None, rounds), "orbax metadata")


def bench_tie(outputs: Outputs, rounds: int) -> None:
    """Prints what it takes to tie and untie, against copying the directory."""
    source, out, tied = outputs.source, outputs.out, outputs.tied
    run_in_turn({"tie": outputs.tie(tied)}, lambda _: None, rounds=1, warmups=0)
    unsynced = {
        "cp -r": ["cp", "-r", str(source), str(out)],
        "tie --no-sync": outputs.tie(out, "--no-sync"),
        "untie --no-sync": [TIECLI, "untie", str(tied), "-o", str(out), "--no-sync"],
    }
    synced = {
        "cp -r + sync": ["sh", "-c", f"cp -r '{source}' '{out}' && find '{out}' -exec sync {{}} +"],
        "tie": outputs.tie(out),
        "tie --link": outputs.tie(out, "--link"),
        "tie --mode alias": outputs.tie(out, mode="alias"),
        "tie --mode alias --link": outputs.tie(out, "--link", mode="alias"),
        "untie": [TIECLI, "untie", str(tied), "-o", str(out)],
        "untie --link": [TIECLI, "untie", str(tied), "-o", str(out), "--link"],
    }
    show_ratios(f"{source}: not synced", run_in_turn(unsynced, outputs.prepare, rounds), "cp -r")
    show_ratios(f"{source}: synced", run_in_turn(synced, outputs.prepare, rounds), "cp -r + sync")


def bench_script(outputs: Outputs, rounds: int) -> None:
    """Prints what `tie` takes, against restoring everything and saving it without the copy."""
    source, out = outputs.source, outputs.out
    commands = {
        "tie": outputs.tie(out),
        "orbax as numpy, save": run_python(AS_NUMPY + SAVE, source, out, outputs.ties[1]),
        "orbax as jax, save": run_python(AS_JAX + SAVE, source, out, outputs.ties[1]),
    }
    show_ratios(f"{source}: what it replaces", run_in_turn(commands, outputs.prepare, min(rounds, 3)), "tie")


def bench_find(outputs: Outputs, rounds: int) -> None:
    """Prints what it takes to find the copies, against restoring everything and hashing it."""
    source = outputs.source
    commands = {
        "orbax as numpy, xxh3_128": run_python(AS_NUMPY + HASH, source),
        "tiecli find": [TIECLI, "find", str(source)],
    }
    show_ratios(f"{source}: find", run_in_turn(commands, lambda _: None, rounds), "orbax as numpy, xxh3_128")


TABLES = {"inspect": bench_inspect, "tie": bench_tie, "script": bench_script, "find": bench_find}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--only", choices=TABLES, action="append", help="one table; may be given more than once")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for source in map(Path.absolute, options.checkpoints):
        warm(source)
        planted = ("embed.embedding", "lm_head.kernel"), ("layers_0.experts_0.w0", "export.identical")
        outputs = Outputs(source, planted["export" in (source / "_METADATA").read_text(encoding="utf-8")])
        try:
            for name in options.only or TABLES:
                TABLES[name](outputs, options.rounds)
        finally:
            outputs.close()


if __name__ == "__main__":
    main()
