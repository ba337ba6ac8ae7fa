"""`docs/cli.md` is what the commands say of themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_cli_reference_is_generated_from_the_commands() -> None:
    """After a change: `python -m typer tiecli.cli.app utils docs --name tiecli > docs/cli.md`."""
    command = [sys.executable, "-m", "typer", "tiecli.cli.app", "utils", "docs", "--name", "tiecli"]
    generated = subprocess.run(command, capture_output=True, text=True, check=True)

    assert generated.stdout.strip() == REFERENCE.read_text().strip()
