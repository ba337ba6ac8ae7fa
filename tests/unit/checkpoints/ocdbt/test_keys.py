"""Keys: their order, and lengths that claim more than there is."""

from __future__ import annotations

import pytest

from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.keys import encode_keys, measure_prefix, read_keys
from tiecli.errors import DatabaseError


def read(body: bytes, count: int, prefix: bytes = b"", *, interior: bool = False) -> tuple[list[bytes], list[int]]:
    """Reads keys and insists that the body is used up."""
    cursor = Cursor(body, "`n`", Allowance())
    keys, shared = read_keys(cursor, count, prefix, interior=interior)
    cursor.expect_end()
    return keys, list(shared)


@pytest.mark.parametrize(
    "keys",
    [[b""], [b"", b"\0", b"\0\0", b"\xff"], [b"a/.zarray", b"a/0", b"b"], [b"x" * 300 + b"a", b"x" * 300 + b"b"]],
)
def test_reads_what_was_encoded(keys: list[bytes]) -> None:
    """Keys of any bytes come back, behind what the nodes above say they begin with."""
    assert read(encode_keys(keys), len(keys)) == (keys, [])
    assert read(encode_keys(keys), len(keys), b"pre") == ([b"pre" + key for key in keys], [])


def test_interior_keys_say_what_is_shared_below() -> None:
    """The lengths count from the beginning of the whole key."""
    assert read(encode_keys([b"ab", b"b"], [1, 0]), 2, b"pre", interior=True) == ([b"preab", b"preb"], [4, 3])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (encode_keys([b"b", b"a"]), "its keys are out of order"),
        (encode_keys([b"a", b"a"]), "its keys are out of order"),
        (b"\2" + b"\1\1" + b"ab", "a key shares more bytes with the one before than that has"),
        (b"\0" + b"\1\5" + b"ab", "ends too early"),
        (b"\xff", "ends too early"),
        (b"\xff\xff\3" + b"\xff\xff\3\1" + b"a" * 65536, "a key has 65,536 bytes, expected 65,535 or fewer"),
    ],
)
def test_names_damage(body: bytes, message: str) -> None:
    """Keys that do not add up are refused."""
    with pytest.raises(DatabaseError, match=message):
        read(body, 2)


def test_interior_keys_share_no_more_than_they_have() -> None:
    """What keys below share is taken from the key itself."""
    with pytest.raises(DatabaseError, match="the keys below an entry share more bytes than its key has"):
        read(encode_keys([b"ab", b"b"], [1, 2]), 2, interior=True)


def test_a_long_prefix_counts() -> None:
    """Keys are not made longer than a key can be by what stands above them."""
    with pytest.raises(DatabaseError, match="a key has 65,536 bytes"):
        read(encode_keys([b"ab"]), 1, b"x" * 65534)


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [(b"", b"", 0), (b"a", b"", 0), (b"a", b"a", 1), (b"\0a", b"\0b", 1), (b"\0\0", b"\0\1", 1), (b"ab", b"abc", 2)],
)
def test_measures_prefixes(left: bytes, right: bytes, length: int) -> None:
    """Zero bytes count as any others."""
    assert measure_prefix(left, right) == measure_prefix(right, left) == length
