"""The fixtures are what their scripts make, and each is described."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
ORBAX = FIXTURES / "orbax"
NAMES = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir() and path.name not in ("__pycache__", "orbax"))
LAYOUTS = sorted(path.name for path in ORBAX.iterdir())


def run_make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the fixtures' script."""
    command = [sys.executable, "-B", str(FIXTURES / "make.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_script_makes_every_fixture_bit_for_bit(tmp_path: Path) -> None:
    """What the script writes elsewhere is what stands in the repository, file by file."""
    made = run_make("--into", str(tmp_path))

    assert made.returncode == 0, made.stderr
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    kept = sorted(
        path.relative_to(FIXTURES) for name in NAMES for path in (FIXTURES / name).rglob("*") if path.is_file()
    )
    assert files == kept
    assert [path for path in files if (tmp_path / path).read_bytes() != (FIXTURES / path).read_bytes()] == []


def test_check_names_a_file_that_differs(tmp_path: Path) -> None:
    """`--check` passes on fresh fixtures and names the one file whose last byte was changed."""
    run_make("--into", str(tmp_path))
    assert run_make("--check", "--into", str(tmp_path)).returncode == 0
    damaged = tmp_path / "llama" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")

    checked = run_make("--check", "--into", str(tmp_path))

    assert checked.returncode == 1
    assert checked.stderr == "llama/model.safetensors differs\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_fixture_is_small_and_described(name: str) -> None:
    """Every fixture has a row in the README, and stays small enough to live in the repository."""
    size = sum(path.stat().st_size for path in (FIXTURES / name).iterdir())

    assert f"| `{name}` |" in (FIXTURES / "README.md").read_text(encoding="utf-8")
    assert size < (300_000 if name == "gpt2-untied" else 62_000)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_orbax_layout_is_small_and_described(name: str) -> None:
    """Every layout stands in the README, and stays small; made-up places are all that is told of its making."""
    files = [path for path in (ORBAX / name).rglob("*") if path.is_file()]

    assert f"`{name}`" in (FIXTURES / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in files) < 62_000
    for path in files:
        if path.name == "commit_success.txt":
            assert path.read_text(encoding="utf-8").startswith("Checkpoint commit was successful to /checkpoints/")
        if path.name == "_CHECKPOINT_METADATA":
            assert set(re.findall(r"timestamp_nsecs\": (\d+)", path.read_text(encoding="utf-8"))) == {
                "1767225600000000000"
            }
