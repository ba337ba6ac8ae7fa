"""`tiecli inspect` against the five lines that a user would write.

python tests/benchmarks/bench_inspect.py FILE...
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import run_in_turn, show_ratios

SCRIPT = """
import sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="numpy") as file:
    for name in file.keys():
        leaf = file.get_slice(name)
        print(name, leaf.get_shape(), leaf.get_dtype())
"""


def main(files: list[str]) -> None:
    """Prints one table a file."""
    tiecli = str(Path(sys.executable).with_name("tiecli"))
    for file in files:
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "safe_open script": [sys.executable, "-c", SCRIPT, file],
            "tiecli inspect": [tiecli, "inspect", file],
            "tiecli inspect --table": [tiecli, "inspect", file, "--table"],
            "tiecli inspect --json": [tiecli, "inspect", file, "--json"],
            "tiecli --help": [tiecli, "--help"],
        }
        runs = run_in_turn(commands, lambda _: None, rounds=15, warmups=2)
        show_ratios(file, runs, "safe_open script", {"tiecli inspect": "< 1"})


if __name__ == "__main__":
    main(sys.argv[1:])
