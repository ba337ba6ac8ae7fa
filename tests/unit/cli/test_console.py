"""`cli/console.py`: a bar that counts checkpoints, where somebody looks and it takes long."""

from __future__ import annotations

import io
import sys

import pytest

from tiecli.checkpoints.protocol import ignore_progress
from tiecli.cli import console
from tiecli.cli.console import show_count


class Terminal(io.StringIO):
    """Takes what is written to a terminal."""

    def isatty(self) -> bool:
        """Claims to be one."""
        return True


def test_nothing_is_counted_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, or a single checkpoint."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with show_count("linting", 100) as progress:
        assert progress is ignore_progress
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show_count("linting", 1) as progress:
        assert progress is ignore_progress


def test_a_bar_appears_once_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before a second has passed; then with all that was done until then."""
    clock = iter((0.0, 0.5, 2.0, 3.0))
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(console, "monotonic", lambda: next(clock))
    monkeypatch.setenv("TERM", "xterm")
    with show_count("linting", 100) as progress:
        progress(40)
        assert screen.getvalue() == ""
        progress(2)
        progress(3)

    assert "linting" in screen.getvalue()
    assert "45/100" in screen.getvalue()
