"""Several processes on this machine verify together: shares, results, errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("processes_worker.py")

pytest.importorskip("jax", reason="jax comes with the extra `verify`")


def start_together(
    count: int, command: list[str], directory: Path | None = None
) -> list[subprocess.CompletedProcess[str]]:
    """Runs a command in several processes, each with the address, their number and its own; waits for all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    started = []
    for rank in range(count):
        filled = [word.format(address=address, count=count, rank=rank) for word in command]
        started.append(
            subprocess.Popen(
                [sys.executable, *filled], cwd=directory, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    finished = []
    try:
        for process in started:
            out, err = process.communicate(timeout=120)
            finished.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    finally:
        for process in started:
            process.kill()
    return finished


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("map", "['0 by 0', '1 by 1', '2 by 0', '3 by 1', '4 by 0']"),
        ("once", "by 0"),
        ("error", "error: `w` does not decode"),
    ],
)
def test_every_process_knows_what_all_of_them_found(what: str, expected: str) -> None:
    """Results in the order of the work, the first one's alone, and an error of one; nothing else is said."""
    finished = start_together(2, [str(WORKER), "{address}", "{count}", "{rank}", what])

    assert [done.returncode for done in finished] == [0, 0], finished
    assert [done.stdout for done in finished] == [f"{expected}\n"] * 2


def test_each_process_reads_its_own_chunks_and_all_measure_the_same() -> None:
    """Two of them find to the last bit what one does, and none reads what the other does."""
    probe = [str(WORKER), "{address}", "{count}", "{rank}", "probe"]
    (alone,), together = ([json.loads(done.stdout) for done in start_together(count, probe)] for count in (1, 2))

    assert alone[0] == "PASS"
    assert [found[:2] for found in together] == [alone[:2]] * 2
    mine, theirs = (found[2] for found in together)
    assert len(mine) == len(theirs) == 4
    assert sorted(mine + theirs) == sorted(alone[2])


def test_a_process_that_finds_no_other_says_so() -> None:
    """In words, and not by being ended."""
    code = (
        "from tiecli.verification.processes import join_processes\n"
        "with join_processes('127.0.0.1:9', 2, 1, patience=0): pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "ProcessError: no process answers at `127.0.0.1:9`: Connection refused" in done.stderr
