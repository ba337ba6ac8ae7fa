"""`cli/sizes.py`: how a person writes a number of bytes."""

from __future__ import annotations

import pytest

from tiecli.cli.sizes import parse_size
from tiecli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("1", 1),
        ("700B", 700),
        ("5GB", 5 * 10**9),
        ("5gb", 5 * 10**9),
        (" 5 GB ", 5 * 10**9),
        ("500MB", 500 * 10**6),
        ("12KB", 12_000),
        ("2TB", 2 * 10**12),
        ("2GiB", 2 << 30),
        ("1.5MiB", 3 << 19),
        ("0.5kib", 512),
    ],
)
def test_decimal_and_binary_units(text: str, nbytes: int) -> None:
    """As Hugging Face's libraries write them, and in powers of two."""
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "GB", "0", "0.1B", "-5GB", "5 G B", "5XB", "1e3GB", "5GBs", "٥GB", "1" * 30])
def test_anything_else_is_refused(text: str) -> None:
    """No number, no known unit, or less than a byte."""
    with pytest.raises(UsageError, match="no size of a shard"):
        parse_size(text)
