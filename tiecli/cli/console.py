"""Console: the only place that writes to the terminal: results to stdout, the rest to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TextIO

from tiecli.checkpoints.protocol import Progress, ignore_progress
from tiecli.render.jsontext import encode_json
from tiecli.render.lines import Line, escape, plain_text

STYLES: Mapping[str, str] = {
    "title": "bold",
    "label": "bold",
    "node": "bold",
    "dtype": "cyan",
    "tie": "green",
    "good": "green",
    "bad": "red",
    "error": "bold red",
    "warning": "yellow",
    "hint": "cyan",
    "command": "cyan",
    "removed": "red",
    "added": "green",
    "dim": "dim",
}
"""What the style names of `render` look like on a terminal."""


class PipeClosedError(Exception):
    """Whoever read the output stopped reading; typer would take a `BrokenPipeError` for itself."""


def show_lines(lines: Iterable[Line]) -> None:
    """Writes a result to stdout; in colour on a terminal, unless `NO_COLOR` is set."""
    _write(lines, sys.stdout)


def show_notice(*spans: Line) -> None:
    """Writes lines to stderr: what was done, what was not, what to do next."""
    _write(spans, sys.stderr)


def show_json(document: Mapping[str, object]) -> None:
    """Writes one JSON document to stdout."""
    _write_text(encode_json(document, 2 if sys.stdout.isatty() else None) + "\n", sys.stdout)


def show_text(text: str) -> None:
    """Writes text to stdout as it is."""
    _write_text(text, sys.stdout)


@contextmanager
def show_count(task: str, total: int) -> Iterator[Progress]:
    """Shows a bar that counts checkpoints on stderr while the block runs, if stderr is a terminal and it takes long.

    Args:
        task: What is being done, as a participle.
        total: How many checkpoints.
    """
    if total < 2 or not sys.stderr.isatty():
        yield ignore_progress
        return
    started = monotonic()
    done = 0
    with ExitStack() as stack:
        advance: Progress | None = None

        def progress(count: int) -> None:
            """Counts some more; the bar is there after a second, since most runs end before rich is imported."""
            nonlocal advance, done
            done += count
            if advance is not None:
                advance(count)
            elif monotonic() - started > 1:
                advance = stack.enter_context(_count_bar(task, total))
                advance(done)

        yield progress


@contextmanager
def _count_bar(task: str, total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(task, total=total)
        yield lambda count: bars.advance(bar, count)


@contextmanager
def show_progress(task: str, total: int, *, quiet: bool = False) -> Iterator[Progress]:
    """Shows a progress bar on stderr while the block runs, if stderr is a terminal.

    Args:
        task: What is being done, as a participle.
        total: How many bytes it will deal with.
        quiet: Show nothing.
    """
    # Below 64 MiB the work is done before rich is imported.
    if quiet or total < 64 << 20 or not sys.stderr.isatty():
        yield ignore_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(task, total=total)
        yield lambda nbytes: bars.advance(bar, nbytes)


def _write(lines: Iterable[Line], stream: TextIO) -> None:
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        _write_text(plain_text(lines), stream)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False, soft_wrap=True)
    for spans in lines:
        console.print(Text.assemble(*((escape(text), STYLES.get(style, "")) for text, style in spans)), soft_wrap=True)


def _write_text(text: str, stream: TextIO) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError as error:
        raise PipeClosedError from error
