"""Exits: what the exit code of a command says; docs/exit-codes.md is its page."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code says; an unknown code is to be treated as failure."""

    OK = 0
    """Done, and the answer is yes."""
    NO = 1
    """Done, and the answer is no: differences, findings, not verified."""
    REFUSED = 2
    """Not done: usage, unreadable or invalid input, a request that cannot be met."""
    BUG = 3
    """Not done: a bug in tiecli."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; the target is absent or whole."""
    PIPE_CLOSED = 141
    """Whoever read the output stopped reading."""
