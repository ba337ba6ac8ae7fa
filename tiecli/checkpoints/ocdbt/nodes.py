"""Nodes: decodes one node of the tree, which holds values at height 0 and other nodes above."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, compress, islice, repeat
from operator import add
from typing import NamedTuple

from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.keys import read_keys
from tiecli.checkpoints.ocdbt.tables import DataFile, read_table

MOST_ENTRIES = 1 << 20
"""How many entries a node may have. Source: tensorstore, `kMaxNodeArity`."""

# No file is longer, on any system.
_FURTHEST = (1 << 63) - 1


class Value(NamedTuple):
    """One value of a database.

    Attributes:
        file: Name of the file that holds it, relative to the database's directory; empty for
            a value that stands in the tree itself.
        offset: Its first byte, counted from the start of that file.
        nbytes: How many bytes.
        inline: The value itself where it stands in the tree.
    """

    file: str
    offset: int
    nbytes: int
    inline: bytes = b""


class NodeReference(NamedTuple):
    """Where a node lies, and what is known of it before it is read.

    Attributes:
        file: The data file.
        offset: Its first byte.
        nbytes: How many bytes.
        height: How many nodes lie on the way from it to any value, itself not counted.
        first: No key in it comes before this one.
        prefix: What all keys in it begin with; not stored again.
    """

    file: DataFile
    offset: int
    nbytes: int
    height: int
    first: bytes = b""
    prefix: bytes = b""


# Tens of thousands are made: without the checks of `__new__` it takes half the time.
_make_value = partial(tuple.__new__, Value)


def decode_leaf(cursor: Cursor, base: bytes, prefix: bytes) -> tuple[list[bytes], Iterator[Value]]:
    """Decodes the rest of a node of height 0 into keys and values.

    Raises:
        DatabaseError: It is damaged.
    """
    table = read_table(cursor, base)
    count = _read_size(cursor)
    keys, _ = read_keys(cursor, count, prefix, interior=False)
    lengths = cursor.read_numbers(count)
    # A kind for each: 0 where the value stands here, 1 where it stands in a data file.
    kinds = cursor.take(count)
    if max(kinds) > 1:
        cursor.refuse(f"a value is of kind {max(kinds)}, expected 0 or 1")
    apart = sum(kinds)
    names = _read_names(cursor, apart, table)
    offsets = cursor.read_numbers(apart)
    parts = list(compress(lengths, kinds))
    if max(map(add, offsets, parts), default=0) > _FURTHEST:
        cursor.refuse("a value ends behind the last byte that a file can have")
    far = map(_make_value, zip(names, offsets, parts, repeat(b""), strict=False))
    sizes = list(compress(lengths, kinds.translate(b"\1\0" + bytes(254))))
    ends = list(accumulate(sizes, initial=cursor.skip(sum(sizes))))
    slices = map(cursor.body.__getitem__, map(slice, ends, islice(ends, 1, None)))
    # Thousands of small arrays have the same metadata, which is held once.
    held: dict[bytes, bytes] = {}
    texts = (held.setdefault(text, text) for text in slices)
    near = map(_make_value, zip(repeat(""), repeat(0), sizes, texts, strict=False))
    cursor.expect_end()
    return keys, (next(far) if kind else next(near) for kind in kinds)


def decode_interior(cursor: Cursor, base: bytes, prefix: bytes, height: int) -> list[NodeReference]:
    """Decodes the rest of a node of some height into references to the nodes below it.

    Raises:
        DatabaseError: It is damaged.
    """
    table = read_table(cursor, base)
    count = _read_size(cursor)
    keys, shared = read_keys(cursor, count, prefix, interior=True)
    files = read_files(cursor, count, table)
    offsets = cursor.read_numbers(count)
    lengths = cursor.read_numbers(count)
    # How many keys, bytes of nodes and bytes of values there are below each.
    for _ in range(3):
        cursor.read_numbers(count)
    cursor.expect_end()
    return [
        NodeReference(file, offset, nbytes, height - 1, key, key[:length])
        for file, offset, nbytes, key, length in zip(files, offsets, lengths, keys, shared, strict=True)
    ]


def _read_size(cursor: Cursor) -> int:
    count = cursor.read_count("entries", MOST_ENTRIES)
    if not count:
        cursor.refuse("it has no entries")
    return count


def _read_names(cursor: Cursor, count: int, table: Sequence[DataFile]) -> list[str]:
    names = [file.name for file in table]
    return [names[number] for number in _read_indices(cursor, count, table)]


def read_files(cursor: Cursor, count: int, table: Sequence[DataFile]) -> list[DataFile]:
    """Reads data files, each given by its place in the table.

    Raises:
        DatabaseError: The table does not go as far, or the file has no name.
    """
    return [table[number] for number in _read_indices(cursor, count, table)]


def _read_indices(cursor: Cursor, count: int, table: Sequence[DataFile]) -> Sequence[int]:
    indices = cursor.read_numbers(count)
    if max(indices, default=-1) >= len(table):
        cursor.refuse(f"it refers to data file {max(indices):,} of {len(table):,}")
    for number in set(indices):
        if not table[number].name:
            cursor.refuse("it refers to a data file without a name")
    return indices
