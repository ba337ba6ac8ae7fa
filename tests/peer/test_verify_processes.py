"""Several processes on this machine verify together: shares, results, errors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tiecli.cli.entry import main

FIXTURES = Path(__file__).parents[2] / "fixtures"
TIECLI = ["-c", "import sys; from tiecli.cli.entry import main; sys.exit(main())"]
TRANSPOSE = ["--transform", "transpose"]
TIES = {
    "orbax/two-processes": ["--src", "wte.embedding", "--dst", "lm_head.kernel", *TRANSPOSE],
    "flax-transposed": ["--src", "token_embedder.embedding", "--dst", "decoder.logits_dense.kernel", *TRANSPOSE],
    "gpt2-untied": ["--src", "transformer.wte.weight", "--dst", "lm_head.weight"],
}
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
    (first,), both = start_together(1, probe), start_together(2, probe)

    assert [done.returncode for done in (first, *both)] == [0] * 3, [done.stderr for done in (first, *both)]
    alone, together = json.loads(first.stdout), [json.loads(done.stdout) for done in both]
    assert alone[0] == "PASS"
    assert [found[:2] for found in together] == [alone[:2]] * 2
    mine, theirs = (found[2] for found in together)
    assert len(mine) == len(theirs) == 4
    assert sorted(mine + theirs) == sorted(alone[2])


LOSS = """
import jax.numpy as jnp

def loss(tree, key):
    return jnp.sum(jnp.tanh(tree["wte"]["embedding"] @ tree["lm_head"]["kernel"]))
"""


@pytest.mark.parametrize("source", ["orbax/two-processes", "flax-transposed", "gpt2-untied"])
def test_one_report_comes_out_the_same_however_many_there_are(source: str, tmp_path: Path) -> None:
    """From Orbax and from safetensors, losses and training included; the first process alone speaks."""
    original, tied = FIXTURES / source, tmp_path / "tied"
    (tmp_path / "model.py").write_text(LOSS, encoding="utf-8")
    assert main(["tie", str(original), *TIES[source], "-o", str(tied)]) == 0
    verify = [*TIECLI, "verify", str(tied), "--original", str(original), "--json"]
    if source.startswith("orbax"):
        verify += ["--loss", "model:loss", "--steps", "2"]
    together = ["--coordinator", "{address}", "--num-processes", "{count}", "--process-id", "{rank}"]

    (alone,) = start_together(1, verify, tmp_path)
    first, second = start_together(2, [*verify, *together], tmp_path)

    assert alone.returncode == first.returncode == second.returncode == 0, (alone.stderr, first.stderr)
    assert json.loads(first.stdout) == json.loads(alone.stdout)
    assert second.stdout == ""


def test_what_only_one_process_tries_all_refuse(tmp_path: Path) -> None:
    """Losses are the first one's; where they fail, the others do not wait for them."""
    tied = tmp_path / "tied"
    source = FIXTURES / "gpt2-untied"
    assert main(["tie", str(source), *TIES["gpt2-untied"], "-o", str(tied)]) == 0
    verify = [*TIECLI, "verify", str(tied), "--loss", "nowhere:loss"]
    together = ["--coordinator", "{address}", "--num-processes", "{count}", "--process-id", "{rank}"]

    finished = start_together(2, [*verify, *together], tmp_path)

    assert [done.returncode for done in finished] == [2, 2]
    assert all("there is no module `nowhere`" in done.stderr for done in finished)


def test_a_process_that_finds_no_other_says_so() -> None:
    """In words, and not by being ended."""
    code = (
        "from tiecli.verification.processes import join_processes\n"
        "with join_processes('127.0.0.1:9', 2, 1, patience=0): pass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "ProcessError: no process answers at `127.0.0.1:9`: Connection refused" in done.stderr
