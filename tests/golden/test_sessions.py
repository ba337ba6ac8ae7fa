"""Every `$ tiecli …` in README.md and docs/ prints what is pasted below it.

After a change of output: `python tests/golden/test_sessions.py` pastes anew.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The CLI reference is generated, and its blocks are synopses.
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "cli.md")]
BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
RUNNABLE = ("tiecli", "cmp")
FILE = re.compile(r"^```(?:python|toml)\n# (\w+\.(?:py|toml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Rounding differs from one processor to the next, where gradients are computed; nothing else does.
ROUNDING = re.compile(r"\b\d\.\de-1\d\b|\b0\.0e\+00\b")


def run_command(command: str, directory: Path) -> str:
    """Runs one line of a session and gives what a person would see."""
    words = shlex.split(command)
    if words[0] == "tiecli":
        words = [sys.executable, "-c", "import sys; from tiecli.cli.entry import main; sys.exit(main())", *words[1:]]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "80"}
    done = subprocess.run(
        words, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def replay(block: str, directory: Path) -> str:
    """Runs the commands of a block and gives the block with their present output."""
    lines = [block.partition("$ ")[0]]
    for command, pasted in split_block(block):
        lines.append(f"$ {command}\n")
        first = shlex.split(command)[0]
        lines.append(run_command(command, directory) if first in RUNNABLE and "|" not in command else pasted)
    return "".join(lines)


def split_block(block: str) -> Iterator[tuple[str, str]]:
    """Splits a block into commands and the output below each."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def replay_page(page: Path, directory: Path) -> str:
    """Gives a page with the present output of its sessions, run one after the other.

    Code or settings that begin with the name of a file are that file, and there beforehand.
    """
    shutil.copytree(ROOT / "fixtures", directory / "fixtures", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, text in FILE.findall(page.read_text()):
        (directory / name).write_text(text)
    return BLOCK.sub(lambda match: replay(match[1], directory), page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pasted_output_is_real(page: Path, tmp_path: Path) -> None:
    """A new user sees what the page shows."""
    replayed, pasted = (ROUNDING.sub("ε", text) for text in (replay_page(page, tmp_path), page.read_text()))

    assert replayed == pasted


if __name__ == "__main__":
    for page in PAGES:
        with tempfile.TemporaryDirectory() as directory:
            page.write_text(replay_page(page, Path(directory)))
