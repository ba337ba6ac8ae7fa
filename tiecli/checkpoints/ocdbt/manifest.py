"""Manifest: where the tree of the newest version of a database begins."""

from __future__ import annotations

from typing import NamedTuple

from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.frames import MANIFEST, open_frame, seal_frame
from tiecli.checkpoints.ocdbt.nodes import NodeReference
from tiecli.checkpoints.ocdbt.numbers import encode_number, encode_numbers
from tiecli.checkpoints.ocdbt.tables import encode_table, read_table
from tiecli.errors import UnsupportedCheckpointError

MANIFEST_FILE = "manifest.ocdbt"
"""What the file is called."""

# Offset and length of the root of a version without keys.
_MISSING = (1 << 64) - 1

# Source: tensorstore, `kMaxVersionTreeArityLog2`.
_LARGEST_ARITY = 16

# Source: orbax-checkpoint 0.12.8, which sets the first two, and tensorstore 0.1.86 for the rest.
_INLINE_BYTES = 1024
NODE_BYTES = 100_000_000
"""How large a node may grow before it is split, in decoded bytes."""
_ARITY = 4
_ZSTD = 1
_ZSTD_LEVEL = 0


class Root(NamedTuple):
    """The root of a tree, as it is written down.

    Attributes:
        height: Its height.
        file: Name of its data file.
        offset: Its first byte.
        nbytes: How many bytes.
        statistics: How many keys, bytes of nodes, and bytes of values apart there are in the tree.
    """

    height: int
    file: str
    offset: int
    nbytes: int
    statistics: tuple[int, int, int]


def parse_manifest(raw: bytes, label: str, allowance: Allowance) -> NodeReference | None:
    """Reads where the newest tree begins; None where it has no keys.

    Args:
        raw: All of the manifest.
        label: What errors call it, quotes included.
        allowance: What the database may expand to.

    Raises:
        DatabaseError: It is damaged, or of a version that tiecli does not know.
        UnsupportedCheckpointError: Its versions stand in files of their own.
    """
    cursor = open_frame(raw, MANIFEST, label, allowance)
    arity = _read_config(cursor)
    table = read_table(cursor, b"")
    count = cursor.read_count("versions", 1 << arity)
    if not count:
        cursor.refuse("it has no version")
    generations = cursor.read_numbers(count)
    heights = cursor.take(count)
    files = cursor.read_numbers(count)
    offsets = cursor.read_numbers(count)
    lengths = cursor.read_numbers(count)
    _skip_rest(cursor, count, arity)
    if not generations[-1]:
        cursor.refuse("its newest version has number 0")
    if offsets[-1] == lengths[-1] == _MISSING:
        return None
    if files[-1] >= len(table):
        cursor.refuse(f"its root stands in data file {files[-1]:,} of {len(table):,}")
    if not table[files[-1]].name:
        cursor.refuse("its root stands in a data file without a name")
    return NodeReference(table[files[-1]], offsets[-1], lengths[-1], heights[-1])


def _skip_rest(cursor: Cursor, count: int, arity: int) -> None:
    """Passes over what else is said of versions, and where the older ones stand, up to the end."""
    for _ in range(3):
        cursor.read_numbers(count)
    cursor.skip(8 * count)
    older = cursor.read_count("nodes of older versions", 63 // arity)
    for _ in range(5):
        cursor.read_numbers(older)
    cursor.skip(9 * older)
    cursor.expect_end()


def _read_config(cursor: Cursor) -> int:
    cursor.take(16)
    kind = cursor.read_number()
    if kind == 1:
        raise UnsupportedCheckpointError(
            f"{cursor.label} is a numbered manifest (`manifest_kind` 1), which tiecli does not read",
            "Load the checkpoint in Orbax and save it again: Orbax writes single manifests.",
        )
    if kind != 0:
        cursor.refuse(f"it is of kind {kind}, expected 0 (single) or 1 (numbered)")
    cursor.read_numbers(2)
    arity = cursor.read_byte()
    if not 0 < arity <= _LARGEST_ARITY:
        cursor.refuse(f"its versions branch by 2 to the power of {arity}, expected 1 to {_LARGEST_ARITY}")
    compression = cursor.read_number()
    if compression == _ZSTD:
        cursor.take(4)
    elif compression != 0:
        cursor.refuse(f"its nodes are compressed by method {compression}, tiecli knows 0 (none) and {_ZSTD} (zstd)")
    return arity


def encode_manifest(root: Root | None, identity: bytes) -> bytes:
    """Encodes a manifest of one version, configured as Orbax does.

    Args:
        root: Where its tree begins; None without keys.
        identity: 16 bytes that name the database.
    """
    if root is None:
        root = Root(0, "", _MISSING, _MISSING, (0, 0, 0))
    config = (
        identity
        + encode_numbers([0, _INLINE_BYTES, NODE_BYTES])
        + bytes([_ARITY])
        + encode_number(_ZSTD)
        + _ZSTD_LEVEL.to_bytes(4, "little", signed=True)
    )
    # One version, number 1; the time of its commit is left at 0, as the same values give the same bytes.
    version = encode_number(1) + encode_number(1) + bytes([root.height]) + encode_number(0)
    version += encode_numbers([root.offset, root.nbytes, *root.statistics]) + bytes(8)
    return seal_frame(config + encode_table([root.file]) + version + encode_number(0), MANIFEST)
