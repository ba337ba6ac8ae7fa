"""Tables: the data files that a manifest or a node refers to, each by its place in the table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice
from operator import add
from typing import NamedTuple

from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.keys import measure_prefix
from tiecli.checkpoints.ocdbt.numbers import encode_number, encode_numbers

# The format allows 65,535 bytes, but the system opens no path that is longer than this.
_LONGEST = 4096

# As many as a node has entries; each of them names one file at most.
_MOST = 1 << 20


class DataFile(NamedTuple):
    """A file that holds values, nodes, or both.

    Attributes:
        name: Its name, relative to the database's directory.
        base: The part of the name that the names in its nodes are relative to.
    """

    name: str
    base: bytes


def read_table(cursor: Cursor, base: bytes) -> tuple[DataFile, ...]:
    """Reads a table.

    Args:
        cursor: Where it begins; moved to its end.
        base: What its names are relative to.

    Raises:
        DatabaseError: It is damaged, or names a file outside the database's directory.
    """
    count = cursor.read_count("data files", _MOST)
    if count == 0:
        return ()
    prefixes = (0, *cursor.read_numbers(count - 1))
    suffixes = cursor.read_numbers(count)
    bases = cursor.read_numbers(count)
    lengths = list(map(add, prefixes, suffixes))
    if max(lengths) + len(base) > _LONGEST:
        cursor.refuse(f"the name of a data file has {max(lengths) + len(base):,} bytes, expected {_LONGEST:,} or fewer")
    cursor.allowance.spend_entries(count, sum(lengths) + count * len(base), cursor.label)
    ends = list(accumulate(suffixes, initial=cursor.skip(sum(suffixes))))
    files, path = [], b""
    for index, (prefix, begin, end) in enumerate(zip(prefixes, ends, ends[1:], strict=False)):
        if prefix > len(path) or bases[index] > lengths[index]:
            cursor.refuse(f"the name of data file {index} is made from more bytes than there are")
        path = path[:prefix] + cursor.body[begin:end]
        files.append(DataFile(_check_name(base + path, cursor), base + path[: bases[index]]))
    return tuple(files)


def _check_name(path: bytes, cursor: Cursor) -> str:
    try:
        name = path.decode("utf-8")
    except UnicodeDecodeError:
        cursor.refuse(f"the name of a data file is not UTF-8: {path[:80]!r}")
    # The empty name is that of the root of an empty database, and refused wherever it is followed.
    if name and not is_plain(name):
        cursor.refuse(f"data file {name[:80]!r} is no plain path inside the database")
    return name


def is_plain(name: str) -> bool:
    r"""Tells whether a name, links aside, stays inside the directory that it is relative to, and prints on one line.

    >>> is_plain("ocdbt.process_0/d/0f"), is_plain("../0f"), is_plain("/0f"), is_plain("d//0f"), is_plain("d/\n")
    (True, False, False, False, False)
    """
    return name.isprintable() and not {"", ".", ".."} & set(name.split("/"))


def encode_table(names: Sequence[str]) -> bytes:
    """Encodes a table of names, none of which gives a base to others.

    Args:
        names: In order, none twice.
    """
    paths = [name.encode("utf-8") for name in names]
    prefixes = list(map(measure_prefix, paths, islice(paths, 1, None)))
    suffixes = [path[prefix:] for path, prefix in zip(paths, (0, *prefixes), strict=False)]
    columns = (prefixes, list(map(len, suffixes)), [0] * len(paths))
    return b"".join([encode_number(len(paths)), *map(encode_numbers, columns), *suffixes])
