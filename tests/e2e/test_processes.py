"""Commands as processes: interrupted, out of space, two at once, read by a closed pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

Write = Callable[..., Path]
COMMAND = [sys.executable, "-c", "from tiecli.cli.entry import run; run()"]
EMBED, HEAD = "embed.weight", "head.weight"


@pytest.fixture
def large(write: Write, tmp_path: Path, rng: np.random.Generator) -> Path:
    """64 MiB in many leaves, two of which are equal."""
    block = rng.normal(size=(512, 1024)).astype(np.float32)
    leaves = {EMBED: block, HEAD: block} | {f"layers.{i}.w": block + i for i in range(30)}
    return write(tmp_path / "large.safetensors", leaves)


def tie_command(source: Path, target: Path) -> list[str]:
    """Ties the two equal leaves."""
    return [*COMMAND, "tie", str(source), "--src", EMBED, "--dst", HEAD, "-o", str(target)]


def test_interrupted_run_leaves_nothing(large: Path, tmp_path: Path) -> None:
    """Ctrl-C at any moment: exit code 130, or done; never something in between."""
    before = large.read_bytes()
    codes = set()
    for delay in (0.1, 0.15, 0.2, 0.25, 0.3):
        target = tmp_path / "out.safetensors"
        process = subprocess.Popen(
            tie_command(large, target), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
        codes.add(process.returncode)

        if process.returncode == 130:
            assert "interrupted" in stderr
        assert set(os.listdir(tmp_path)) <= {"large.safetensors", "out.safetensors"}
        if target.exists():
            with safe_open(target, "numpy") as opened:
                assert len(opened.keys()) == 31
        target.unlink(missing_ok=True)
    # An interrupt while Python itself starts ends it by the signal, before any of our code runs.
    assert codes <= {0, 130, 1, -signal.SIGINT}
    assert large.read_bytes() == before


def test_no_room_for_the_output(large: Path, tmp_path: Path) -> None:
    """A limit of the system is reported by name, and the stage is gone."""
    # Set by the process itself: to fork one that has loaded JAX, as others here do, is warned of.
    limited = "import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " + (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", limited, *tie_command(large, tmp_path / "out.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "out.safetensors" in done.stderr
    assert "hint: " in done.stderr
    assert os.listdir(tmp_path) == ["large.safetensors"]


def test_two_runs_to_one_target(large: Path, tmp_path: Path) -> None:
    """One wins whole; the other is refused."""
    command = tie_command(large, tmp_path / "out.safetensors")
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [run.communicate()[1] for run in runs]

    assert sorted(run.returncode for run in runs) == [0, 2], errors
    assert sorted(os.listdir(tmp_path)) == ["large.safetensors", "out.safetensors"]
    subprocess.run(
        [*COMMAND, "untie", "out.safetensors", "-o", "back.safetensors"], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "back.safetensors").read_bytes() == large.read_bytes()


def test_two_runs_to_two_targets(large: Path, tmp_path: Path) -> None:
    """Neighbours do not hinder each other."""
    commands = [tie_command(large, tmp_path / f"out{i}.safetensors") for i in range(2)]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands]

    assert [run.wait() for run in runs] == [0, 0]


def test_reader_that_stops_reading(large: Path) -> None:
    """`| head` is no error to shout about."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "inspect", str(large), "--table"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)

    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_linter_that_ends_leaves_no_process_behind(
    number: signal.Signals | None, write: Write, tmp_path: Path
) -> None:
    """Done or ended by a signal that it alone gets: whoever reads its output, as `tee` does, sees the end of it."""
    for model in range(300):
        write(tmp_path / f"runs/{model}/model.safetensors", {EMBED: np.full((4, 4), model + 1, np.float32)})
    command = [*COMMAND, "lint", "runs", "--level", "data", "--jobs", "2"]
    for attempt in range(4):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if number is not None:
            time.sleep(0.2 + 0.1 * attempt)
            process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)

        assert "semaphore" not in stderr
        assert number is not None or "300 checkpoints" in stdout
