"""Options of `lint`, worded apart from the command."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tiecli.errors import UsageError


class Level(StrEnum):
    """What is read."""

    HEADER = "header"
    DATA = "data"


class FailOn(StrEnum):
    """Which severities make the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


class Style(StrEnum):
    """How the report is written."""

    TEXT = "text"
    FULL = "full"
    JSON = "json"
    JSONL = "jsonl"
    GITHUB = "github"
    GITLAB = "gitlab"
    JUNIT = "junit"
    SARIF = "sarif"


_SETTINGS = "codes, their beginnings, names or ALL; repeatable, or with commas"

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CKPT...",
        help="Checkpoints: any file of one, directories that hold some, or patterns such as 'runs/**'.",
    ),
]
LevelOption = Annotated[
    Level | None,
    typer.Option("--level", show_default="header", help="Read headers and metadata only, or array data too."),
]
Select = Annotated[
    list[str], typer.Option("--select", metavar="RULES", help=f"Run these rules and no others: {_SETTINGS}.")
]
ExtendSelect = Annotated[
    list[str], typer.Option("--extend-select", metavar="RULES", help="Run these rules besides the selected ones.")
]
Ignore = Annotated[list[str], typer.Option("--ignore", metavar="RULES", help="Do not run these rules.")]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", show_default="warning", help="Exit 1 if something is found that is as bad, or worse."),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Read settings here, not from the nearest tiecli.toml or pyproject.toml."
    ),
]
NoConfig = Annotated[bool, typer.Option("--no-config", help="Read no settings file.")]
BaselineOption = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="Hold back what this file lists as known.")
]
WriteBaseline = Annotated[
    Path | None,
    typer.Option("--write-baseline", metavar="FILE", help="List all that is found in this file, as known from now on."),
]
FixOption = Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, then lint again.")]
UnsafeFixes = Annotated[
    bool, typer.Option("--unsafe-fixes", help="Mend also where a fix has to choose between two meanings.")
]
Diff = Annotated[bool, typer.Option("--diff", help="Show what would be mended and write nothing; exit 1 if anything.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, show_default="one a core", help="Lint so many checkpoints at a time."),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Lint only every Nth of the checkpoints found, from the Ith on: for N machines, "
        "whose reports as jsonl are put together by `cat`.",
    ),
]
StyleOption = Annotated[
    Style | None, typer.Option("--output-format", show_default="text", help="How to write the report.")
]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output-file", "-o", metavar="FILE", help="Write the report here; the terminal shows it as text."),
]
SkipOthers = Annotated[
    bool,
    typer.Option("--skip-others", help="Pass over files that are part of no checkpoint, as hooks are given them, too."),
]
Explain = Annotated[str | None, typer.Option("--explain", metavar="RULE", help="Show the page about a rule.")]
ListRules = Annotated[bool, typer.Option("--list-rules", help="List all rules.")]


def split_selectors(texts: Iterable[str]) -> tuple[str, ...]:
    """Splits what `--select` and its like were given.

    Example:
        >>> split_selectors(["TIE, STF001", "drifted-tie"])
        ('TIE', 'STF001', 'drifted-tie')
    """
    return tuple(part.strip() for text in texts for part in text.split(","))


def parse_shard(text: str | None) -> tuple[int, int]:
    """Reads `--shard`.

    Raises:
        UsageError: It is not two numbers, the first of which is at most the second.

    Example:
        >>> parse_shard("2/8"), parse_shard(None)
        ((2, 8), (1, 1))
    """
    number, _, parts = (text or "1/1").partition("/")
    if not (number.isdecimal() and parts.isdecimal() and len(text or "") < 20 and 1 <= int(number) <= int(parts)):
        raise UsageError(
            f"--shard `{text}` is not one of so many, expected such as 1/4", "The parts of 4 are 1/4, 2/4, 3/4 and 4/4."
        )
    return int(number), int(parts)


def choose_style(style: Style | None, *, as_json: bool) -> Style:
    """Says how the report is written; `--json` is short for one of the styles.

    Raises:
        UsageError: Both are given, and differ.
    """
    if as_json and style not in (None, Style.JSON):
        raise UsageError(f"--json and --output-format {style} exclude each other", "Give one of them.")
    return Style.JSON if as_json else style or Style.TEXT


def count_cores() -> int:
    """Counts the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
