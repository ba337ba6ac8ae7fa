"""Writing: encodes the tree and the manifest of a new database, whose values lie where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

from tiecli.checkpoints.ocdbt.keys import LONGEST_KEY
from tiecli.checkpoints.ocdbt.manifest import Root, encode_manifest
from tiecli.checkpoints.ocdbt.nodes import MOST_ENTRIES, Value
from tiecli.checkpoints.ocdbt.nodewriting import WrittenNode, write_interior, write_leaf
from tiecli.errors import UnsupportedCheckpointError

_Entry = TypeVar("_Entry")

SPLIT_BYTES = 4 << 20
"""How large a node of ours grows, in decoded bytes: far below what the database allows, since whoever
reads it holds a node whole."""

# What an entry takes at most beside its key and an inline value: lengths, offsets, counts.
_COLUMNS = 32


class EncodedDatabase(NamedTuple):
    """The files of a new database, without its values.

    Attributes:
        manifest: Contents of `manifest.ocdbt`.
        node_file: Name of the data file that holds the tree, relative to the directory.
        frames: Its contents, in pieces.
    """

    manifest: bytes
    node_file: str
    frames: tuple[bytes, ...]

    @property
    def nodes(self) -> bytes:
        """The contents of the node file in one piece."""
        return b"".join(self.frames)


def encode_database(values: Mapping[str, Value], node_bytes: int = SPLIT_BYTES) -> EncodedDatabase:
    """Encodes a database of one version; the same values give the same bytes.

    Args:
        values: Where the value of each key lies, in any order.
        node_bytes: How large a node may grow before it is split, in decoded bytes.

    Raises:
        UnsupportedCheckpointError: A key is longer than the format allows.
    """
    items = sorted((key.encode("utf-8"), value) for key, value in values.items())
    _check_keys(items)
    digest = hashlib.blake2b(digest_size=32)
    for key, value in items:
        digest.update(repr((key, *value)).encode())
    identity, name = digest.digest()[:16], digest.digest()[16:]
    file = f"d/{name.hex()}"
    if not items:
        return EncodedDatabase(encode_manifest(None, identity), file, ())

    groups = list(_split(items, [len(key) + len(value.inline) + _COLUMNS for key, value in items], 1, node_bytes))
    level = [write_leaf(group, is_root=len(groups) == 1) for group in groups]
    written = list(level)
    while len(level) > 1:
        level = _write_above(level, sum(len(node.frame) for node in written[: -len(level)]), file, node_bytes)
        written += level
    top = written[-1]
    start = sum(len(node.frame) for node in written[:-1])
    root = Root(top.height, file, start, len(top.frame), top.statistics)
    return EncodedDatabase(encode_manifest(root, identity), file, tuple(node.frame for node in written))


def _check_keys(items: Sequence[tuple[bytes, Value]]) -> None:
    for key, _ in items:
        if len(key) > LONGEST_KEY:
            raise UnsupportedCheckpointError(
                f"the key that begins with {key[:40]!r} has {len(key):,} bytes, "
                f"an OCDBT database takes {LONGEST_KEY:,} or fewer",
                "Give the leaf a shorter name.",
            )


def _write_above(level: Sequence[WrittenNode], start: int, file: str, node_bytes: int) -> list[WrittenNode]:
    """Encodes the nodes that refer to those of a level, which begins at byte `start` of the file."""
    below = list(zip(level, accumulate((len(node.frame) for node in level), initial=start), strict=False))
    groups = list(_split(below, [len(node.first) + 2 * _COLUMNS for node in level], 2, node_bytes))
    return [write_interior(group, file, is_root=len(groups) == 1) for group in groups]


def _split(entries: Sequence[_Entry], sizes: Sequence[int], fewest: int, node_bytes: int) -> Iterator[Sequence[_Entry]]:
    """Yields runs of entries of at most so many bytes, unless there are too few in one."""
    start, size = 0, 0
    for place, one in enumerate(sizes):
        count = place - start
        if count == MOST_ENTRIES or (count >= fewest and size + one > node_bytes):
            yield entries[start:place]
            start, size = place, 0
        size += one
    yield entries[start:]
