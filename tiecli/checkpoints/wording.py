"""Wording: how messages of the door list names."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 4


def list_names(names: Sequence[str]) -> str:
    """Lists names in backticks, the first few of many.

    Example:
        >>> list_names(["a", "b", "c", "d", "e", "f"])
        '`a`, `b`, `c`, `d` and 2 more'
    """
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
