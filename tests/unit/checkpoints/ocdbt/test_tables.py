"""Tables: names of data files, those they are relative to, and those that lead outside."""

from __future__ import annotations

import pytest

from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.numbers import encode_number
from tiecli.checkpoints.ocdbt.tables import DataFile, encode_table, is_plain, read_table
from tiecli.errors import DatabaseError


def read(table: bytes, base: bytes = b"") -> tuple[DataFile, ...]:
    """Reads a table and insists that it is used up."""
    cursor = Cursor(table, "`n`", Allowance())
    files = read_table(cursor, base)
    cursor.expect_end()
    return files


@pytest.mark.parametrize(
    "names", [[], ["d/0f"], ["d/0a", "d/0b", "e"], ["ocdbt.process_0/d/0f", "ocdbt.process_10/d/0f"], ["", "ü", "ü/ö"]]
)
def test_reads_what_was_encoded(names: list[str]) -> None:
    """Names come back in order, relative to what the table is relative to."""
    assert read(encode_table(names)) == tuple(DataFile(name, b"") for name in names)
    if all(names):
        assert read(encode_table(names), b"x/") == tuple(DataFile(f"x/{name}", b"x/") for name in names)


def test_a_base_is_passed_on() -> None:
    """A part of a name goes to what is named in that file, behind the base of the table itself."""
    # `p0/d/a` with base `p0/`, `p0/d/b` with the same, `q/d` with none.
    table = b"\3" + b"\5\0" + b"\6\1\3" + b"\3\3\0" + b"p0/d/a" + b"b" + b"q/d"

    assert read(table, b"x/") == (
        DataFile("x/p0/d/a", b"x/p0/"),
        DataFile("x/p0/d/b", b"x/p0/"),
        DataFile("x/q/d", b"x/"),
    )


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../d/0f",
        "d/../../0f",
        "/etc/passwd",
        "d//0f",
        "d/./0f",
        "d/",
        ".",
        "d/\x000f",
        "d/..\x00",
        "d/0\nf",
        "d/\x1b[0m",
    ],
)
def test_names_that_lead_outside(name: str) -> None:
    """No name may leave the directory, or be another spelling of one that does not."""
    assert not is_plain(name)
    with pytest.raises(DatabaseError, match=r"`n` is damaged: data file .* is no plain path inside the database"):
        read(encode_table(["d/0f", name]))


def test_a_base_cannot_lead_outside() -> None:
    """Names are looked at whole, the base put before them."""
    with pytest.raises(DatabaseError, match="is no plain path inside"):
        read(encode_table(["./x"]), b"d/.")
    with pytest.raises(DatabaseError, match="is no plain path inside"):
        read(encode_table(["d"]), b"/")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "ends too early"),
        (b"\5abc", "it states 5 data files, only 3 bytes follow"),
        (b"\1\1\0\xff", "the name of a data file is not UTF-8"),
        (b"\2\2\1\1\0\0ab", "the name of data file 1 is made from more bytes than there are"),
        (b"\1\1\2a", "the name of data file 0 is made from more bytes than there are"),
        (b"\1\3\0ab", "ends too early"),
        (b"\1\x81\x20\0", "the name of a data file has 4,097 bytes, expected 4,096 or fewer"),
    ],
)
def test_names_damage(table: bytes, message: str) -> None:
    """Tables that do not add up are refused."""
    with pytest.raises(DatabaseError, match=message):
        read(table)


def test_names_that_share_most_of_themselves_are_counted() -> None:
    """A megabyte could stand for gigabytes of names."""
    count = 300_000
    table = encode_number(count) + b"\x80\x20" * count + bytes(2 * count - 1) + b"a" * 4096

    with pytest.raises(DatabaseError, match="expands to more than 1,073,741,824 bytes"):
        read(table)
