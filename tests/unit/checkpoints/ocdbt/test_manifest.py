"""Manifests: where the newest tree begins, and the kinds that are not read."""

from __future__ import annotations

import base64

import pytest
import zstandard

from tests.unit.checkpoints.ocdbt.databases import MANIFEST_MARK, configure, point, seal
from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.manifest import Root, encode_manifest, parse_manifest
from tiecli.checkpoints.ocdbt.nodes import NodeReference
from tiecli.checkpoints.ocdbt.tables import DataFile, encode_table
from tiecli.errors import DatabaseError, UnsupportedCheckpointError

# Written by tensorstore 0.1.86, configured as Orbax does.
STOCK = base64.b64decode(
    "DNs6KnMAAAAAAAAAAAEotS/9IFjBAgCvxD5MtgMf1YATNpPS3hfSAIAIgMLXLwQBAAAAAAEiAGQvNTBmNzJmYzc0Y2I5NDJk"
    "YWRiYzdkODA4OTJhZGU3YjEBAQAA3AuCAQSCAdwL2ga0BZcN6hgA5OM20A=="
)
TABLE = encode_table(["d/n"])
MISSING = b"\xff" * 9 + b"\1"


def parse(raw: bytes) -> NodeReference | None:
    """Parses a manifest called `m`."""
    return parse_manifest(raw, "`m`", Allowance())


def unpack(raw: bytes) -> bytes:
    """The body of a compressed manifest."""
    return zstandard.ZstdDecompressor().decompress(raw[14:-4])


def test_reads_a_stock_manifest() -> None:
    """The root is found where tensorstore put it."""
    assert parse(STOCK) == NodeReference(DataFile("d/50f72fc74cb942dadbc7d80892ade7b1", b""), 1500, 130, 0)


def test_writes_the_stock_configuration() -> None:
    """A library that goes on writing finds the configuration that Orbax would have chosen."""
    stock = unpack(STOCK)
    own = encode_manifest(Root(0, "d/50f72fc74cb942dadbc7d80892ade7b1", 1500, 130, (4, 130, 1500)), stock[:16])

    # All but the time of the commit, eight bytes before the last.
    assert unpack(own)[:-9] == stock[:-9]
    assert parse(own) == parse(STOCK)


def test_the_newest_version_counts() -> None:
    """Older versions stand before it."""
    versions = b"\2\1\2\0\1\0\0\x05\x07\x06\x08" + bytes(6) + bytes(16)

    assert parse(seal(MANIFEST_MARK, configure() + TABLE + versions + b"\0")) == NodeReference(
        DataFile("d/n", b""), 7, 8, 1
    )


def test_a_database_without_keys() -> None:
    """Its root is nowhere."""
    assert parse(encode_manifest(None, bytes(16))) is None


def test_numbered_manifests_are_named() -> None:
    """What tiecli cannot read is told apart from damage."""
    with pytest.raises(UnsupportedCheckpointError, match=r"`m` is a numbered manifest \(`manifest_kind` 1\)"):
        parse(seal(MANIFEST_MARK, configure(kind=1)))


def versions(count: int = 1, generation: int = 1, file: int = 0) -> bytes:
    """One version, behind a count that need not be true."""
    return bytes([count, generation, 0, file, 5, 6, 1, 1, 0]) + bytes(9)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "ends too early"),
        (configure(kind=2), r"it is of kind 2, expected 0 \(single\) or 1 \(numbered\)"),
        (configure(arity=0), "its versions branch by 2 to the power of 0, expected 1 to 16"),
        (configure(arity=17), "its versions branch by 2 to the power of 17, expected 1 to 16"),
        (configure(compression=2), "its nodes are compressed by method 2, tiecli knows 0"),
        (configure() + TABLE, "ends too early"),
        (configure() + TABLE + versions(0), "it has no version"),
        (configure() + TABLE + versions(17), "it states 17 versions, expected 16 or fewer"),
        (configure() + TABLE + versions(generation=0), "its newest version has number 0"),
        (configure() + TABLE + versions(file=1), "its root stands in data file 1 of 1"),
        (configure() + encode_table([""]) + versions(), "its root stands in a data file without a name"),
        (configure() + TABLE + versions()[:5], "ends too early"),
        (configure() + TABLE + versions()[:-1], "ends too early"),
        (configure() + TABLE + versions() + b"x", "1 bytes follow its last entry"),
        (configure() + TABLE + versions()[:-1] + b"\x10", "it states 16 nodes of older versions, expected 15 or fewer"),
    ],
)
def test_names_damage(body: bytes, message: str) -> None:
    """Manifests that do not add up are refused."""
    with pytest.raises(DatabaseError, match=f"^`m` is damaged: .*{message}"):
        parse(seal(MANIFEST_MARK, body))


def test_points() -> None:
    """The manifests that other tests make by hand are read."""
    assert parse(point("d/n", 9, height=2, offset=4)) == NodeReference(DataFile("d/n", b""), 4, 9, 2)
