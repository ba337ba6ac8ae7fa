"""Cursor: numbers of variable length, and the end that no read goes past."""

from __future__ import annotations

import pytest

from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.numbers import encode_numbers
from tiecli.errors import DatabaseError


def start(body: bytes) -> Cursor:
    """A cursor at the beginning of a body."""
    return Cursor(body, "`n`", Allowance())


@pytest.mark.parametrize("numbers", [[], [0], [127, 128], [300, 5, (1 << 64) - 1], list(range(100, 200)), [1 << 63]])
def test_reads_what_was_encoded(numbers: list[int]) -> None:
    """Numbers of up to 64 bits come back, and the cursor stands behind them."""
    cursor = start(encode_numbers(numbers) + b"\xff")

    assert list(cursor.read_numbers(len(numbers))) == numbers
    assert cursor.take(1) == b"\xff"


@pytest.mark.parametrize("body", [b"\x80" * 11 + b"\1", b"\xff" * 9 + b"\2", b"\x80" * 5_000_000])
def test_refuses_more_than_64_bits(body: bytes) -> None:
    """A number that needs more than ten bytes, or 65 bits of them, is none."""
    with pytest.raises(DatabaseError, match="`n` is damaged: a number of more than 64 bits stands among"):
        start(body).read_number()


@pytest.mark.parametrize(("body", "count"), [(b"", 1), (b"\x80", 1), (b"\1\x80", 2), (b"\1\2", 3), (b"\1", 1 << 60)])
def test_refuses_numbers_that_are_cut_off(body: bytes, count: int) -> None:
    """The body has to hold every number to its last byte."""
    with pytest.raises(DatabaseError, match="ends too early"):
        start(body).read_numbers(count)


def test_refuses_bytes_that_are_not_there() -> None:
    """The message says how many there are, and where."""
    cursor = start(b"abc")
    cursor.skip(1)

    with pytest.raises(DatabaseError, match="2 bytes follow byte 1, expected 3 or more"):
        cursor.take(3)


def test_counts_have_to_fit() -> None:
    """A count is refused before anything is made of it."""
    with pytest.raises(DatabaseError, match="it states 9 keys, expected 8 or fewer"):
        start(bytes([9])).read_count("keys", 8)
    with pytest.raises(DatabaseError, match="it states 8 keys, only 2 bytes follow"):
        start(b"\x08ab").read_count("keys", 8)


def test_end() -> None:
    """Bytes behind the last entry are named."""
    cursor = start(b"ab")
    with pytest.raises(DatabaseError, match="2 bytes follow its last entry"):
        cursor.expect_end()
    cursor.skip(2)
    cursor.expect_end()


def test_allowance_is_spent_once() -> None:
    """What was spent is gone, for entries and nodes as well."""
    allowance = Allowance(20_000)
    allowance.spend_node(100, "`n`")
    allowance.spend_entries(2, 100, "`n`")
    assert allowance.left == 20_000 - 16384 - 100 - 256 - 200
    with pytest.raises(DatabaseError, match="with `n`, the database expands to more than 20,000 bytes"):
        allowance.spend(3061, "`n`")
    with pytest.raises(DatabaseError, match="`n` has more than 268,435,456 bytes"):
        Allowance().spend_node((1 << 28) + 1, "`n`")
