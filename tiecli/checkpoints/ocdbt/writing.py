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


class DatabaseEncoder:
    """Encodes a database of one version, a node at a time; the same values give the same bytes.

    Attributes:
        node_file: Name of the data file that holds the tree, relative to the directory.
        manifest: Contents of `manifest.ocdbt`; empty until all frames were taken.
    """

    def __init__(self, values: Mapping[str, Value], node_bytes: int = SPLIT_BYTES) -> None:
        """Puts the keys in order.

        Args:
            values: Where the value of each key lies, in any order.
            node_bytes: How large a node may grow before it is split, in decoded bytes.

        Raises:
            UnsupportedCheckpointError: A key is longer than the format allows.
        """
        self._items = sorted((key.encode("utf-8"), value) for key, value in values.items())
        self._node_bytes = node_bytes
        _check_keys(self._items)
        digest = hashlib.blake2b(digest_size=32)
        for key, value in self._items:
            digest.update(repr((key, *value)).encode())
        self._identity, name = digest.digest()[:16], digest.digest()[16:]
        self.node_file = f"d/{name.hex()}"
        self.manifest = b""

    def encode_nodes(self) -> Iterator[bytes]:
        """Yields the contents of the node file, a node at a time; none is held beyond that."""
        items = self._items
        sizes = [len(key) + len(value.inline) + _COLUMNS for key, value in items]
        groups = list(_split(items, sizes, 1, self._node_bytes)) if items else []
        level: list[WrittenNode] = []
        root, end = None, 0
        # Leaves first; each level refers to the one below, up to the one that has a single node.
        made: Iterator[WrittenNode] = (write_leaf(group, is_root=len(groups) == 1) for group in groups)
        while True:
            start, level = end, []
            for node in made:
                yield node.frame
                level.append(node._replace(frame=b""))
                end += node.nbytes
            if len(level) < 2:
                break
            made = _write_above(level, start, self.node_file, self._node_bytes)
        for top in level:
            root = Root(top.height, self.node_file, end - top.nbytes, top.nbytes, top.statistics)
        self.manifest = encode_manifest(root, self._identity)


def encode_database(values: Mapping[str, Value], node_bytes: int = SPLIT_BYTES) -> EncodedDatabase:
    """Encodes a database as `DatabaseEncoder` does, whole; arguments and errors as there."""
    encoder = DatabaseEncoder(values, node_bytes)
    frames = tuple(encoder.encode_nodes())
    return EncodedDatabase(encoder.manifest, encoder.node_file, frames)


def _check_keys(items: Sequence[tuple[bytes, Value]]) -> None:
    for key, _ in items:
        if len(key) > LONGEST_KEY:
            raise UnsupportedCheckpointError(
                f"the key that begins with {key[:40]!r} has {len(key):,} bytes, "
                f"an OCDBT database takes {LONGEST_KEY:,} or fewer",
                "Give the leaf a shorter name.",
            )


def _write_above(level: Sequence[WrittenNode], start: int, file: str, node_bytes: int) -> Iterator[WrittenNode]:
    """Encodes the nodes that refer to those of a level, which begins at byte `start` of the file."""
    below = list(zip(level, accumulate((node.nbytes for node in level), initial=start), strict=False))
    groups = list(_split(below, [len(node.first) + 2 * _COLUMNS for node in level], 2, node_bytes))
    return (write_interior(group, file, is_root=len(groups) == 1) for group in groups)


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
