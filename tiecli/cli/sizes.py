"""Sizes: how a person writes a number of bytes."""

from __future__ import annotations

import re

from tiecli.errors import UsageError

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{'i' if base == 1024 else ''}B": base**power
    for base in (1000, 1024)
    for power, letter in enumerate("KMGT", start=1)
}
_BY_NAME = {name.lower(): nbytes for name, nbytes in _UNITS.items()}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([a-z]{0,3})", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Reads a number of bytes: `5GB` is decimal, `5GiB` binary.

    Raises:
        UsageError: It is none, or less than a byte.

    Example:
        >>> parse_size("5GB"), parse_size("1.5 MiB"), parse_size("100")
        (5000000000, 1572864, 100)
    """
    found = _SIZE.fullmatch(text.strip())
    unit = _BY_NAME.get(found[2].lower()) if found else None
    nbytes = int(float(found[1]) * unit) if found and unit else 0
    if nbytes < 1:
        raise UsageError(
            f"`{text}` is no size of a shard", "Write a number and a unit: --shard-size 5GB, or 500MB, or 2GiB."
        )
    return nbytes
