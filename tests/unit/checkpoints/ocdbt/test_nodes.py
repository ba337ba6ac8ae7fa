"""Nodes: values in the tree and apart, nodes above others, and what does not add up."""

from __future__ import annotations

import pytest

from tests.unit.checkpoints.ocdbt.databases import interior, leaf
from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.nodes import NodeReference, Value, decode_interior, decode_leaf
from tiecli.checkpoints.ocdbt.tables import DataFile, encode_table
from tiecli.errors import DatabaseError


def read_leaf(body: bytes, prefix: bytes = b"") -> dict[bytes, Value]:
    """Reads a leaf behind its height."""
    cursor = Cursor(body, "`n`", Allowance())
    cursor.skip(1)
    keys, values = decode_leaf(cursor, b"", prefix)
    return dict(zip(keys, values, strict=True))


def read_interior(body: bytes, prefix: bytes = b"") -> list[NodeReference]:
    """Reads a node above others behind its height."""
    cursor = Cursor(body, "`n`", Allowance())
    height = cursor.read_byte()
    return decode_interior(cursor, b"", prefix, height)


def test_values_in_the_tree_and_apart() -> None:
    """Each kind is stored in columns of its own, and they come back in the order of the keys."""
    body = (
        b"\0" + encode_table(["d/x", "d/y"]) + b"\4" + b"\0\0\0" + b"\1\1\1\1" + b"abcd"
        b"\x90\x4e\2\0\7" + b"\1\0\0\1" + b"\1\0" + b"\x05\xac\2" + b"hi"
    )

    assert read_leaf(body, b"k/") == {
        b"k/a": Value("d/y", 5, 10000),
        b"k/b": Value("", 0, 2, b"hi"),
        b"k/c": Value("", 0, 0, b""),
        b"k/d": Value("d/x", 300, 7),
    }


def test_nodes_above_others() -> None:
    """A reference says how high the node stands, where it begins, and what its keys share."""
    references = read_interior(interior(3, [(b"ab", 1, 10, 20), (b"b", 0, 30, 40)]), b"k/")

    assert references == [
        NodeReference(DataFile("d/n", b""), 10, 20, 2, b"k/ab", b"k/a"),
        NodeReference(DataFile("d/n", b""), 30, 40, 2, b"k/b", b"k/"),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (leaf([]), "it has no entries"),
        (leaf([(0, b"a")], count=9), "it states 9 entries, only 4 bytes follow"),
        (leaf([(0, b"a")], count=1 << 21), "it states 2,097,152 entries, expected 1,048,576 or fewer"),
        (leaf([(0, b"a")])[:-1], "it ends too early"),
        (leaf([(0, b"a")], [b"value"])[:-1], "it ends too early"),
        (leaf([(0, b"a")]) + b"x", "1 bytes follow its last entry"),
        (b"\0\0\1\1a\0\2", "a value is of kind 2, expected 0 or 1"),
        (b"\0\0\1\1a\0\1\0\0", "it refers to data file 0 of 0"),
        (b"\0" + encode_table(["d"]) + b"\1\1a\0\1\1\0", "it refers to data file 1 of 1"),
        (b"\0" + encode_table(["d"]) + b"\1\1a\1\1\0" + b"\xff" * 8 + b"\x7f", "a value ends behind the last byte"),
        (b"\0" + encode_table([""]) + b"\1\1a\0\1\0\0", "it refers to a data file without a name"),
    ],
)
def test_names_damage_of_leaves(body: bytes, message: str) -> None:
    """Leaves that do not add up are refused."""
    with pytest.raises(DatabaseError, match=f"^`n` is damaged: {message}"):
        read_leaf(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (interior(1, [(b"a", 0, 1, 2)]) + b"x", "1 bytes follow its last entry"),
        (interior(1, [(b"a", 0, 1, 2)])[:-1], "it ends too early"),
        (interior(1, [(b"a", 0, 1, 2)], ""), "it refers to a data file without a name"),
        (interior(1, [(b"b", 0, 1, 2), (b"a", 0, 1, 2)]), "its keys are out of order"),
        (interior(1, [(b"b", 2, 1, 2)]), "the keys below an entry share more bytes"),
    ],
)
def test_names_damage_above(body: bytes, message: str) -> None:
    """Nodes above others that do not add up are refused."""
    with pytest.raises(DatabaseError, match=f"^`n` is damaged: {message}"):
        read_interior(body)
