"""Keys: the keys of a node, each stored as what it does not share with the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, islice
from operator import add, gt, lt

from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.numbers import encode_numbers

LONGEST_KEY = 65535
"""How many bytes a key may have. Source: tensorstore, `kMaxKeyLength`."""


def read_keys(cursor: Cursor, count: int, prefix: bytes, *, interior: bool) -> tuple[list[bytes], Sequence[int]]:
    """Reads the keys of a node.

    Args:
        cursor: Where they begin; moved to their end.
        count: How many, one or more.
        prefix: What the nodes above say all of them begin with.
        interior: Whether each is followed by the length of what the keys below it share.

    Returns:
        The keys, and those lengths with the prefix counted in; none for a leaf.

    Raises:
        DatabaseError: They are damaged, or not in order.
    """
    prefixes = (0, *cursor.read_numbers(count - 1))
    suffixes = cursor.read_numbers(count)
    shared = cursor.read_numbers(count) if interior else ()
    lengths = list(map(add, prefixes, suffixes))
    if len(prefix) + max(lengths) > LONGEST_KEY:
        cursor.refuse(f"a key has {len(prefix) + max(lengths):,} bytes, expected {LONGEST_KEY:,} or fewer")
    if any(map(gt, islice(prefixes, 1, None), lengths)):
        cursor.refuse("a key shares more bytes with the one before than that has")
    if any(map(gt, shared, lengths)):
        cursor.refuse("the keys below an entry share more bytes than its key has")
    cursor.allowance.spend_entries(count, sum(lengths) + count * len(prefix), cursor.label)
    ends = list(accumulate(suffixes, initial=cursor.skip(sum(suffixes))))
    body, key = cursor.body, b""
    keys = [
        key := key[:start] + body[begin:end]
        for start, begin, end in zip(prefixes, ends, islice(ends, 1, None), strict=False)
    ]
    if not all(map(lt, keys, islice(keys, 1, None))):
        cursor.refuse("its keys are out of order")
    if prefix:
        keys = [prefix + key for key in keys]
        shared = [len(prefix) + length for length in shared]
    return keys, shared


def encode_keys(keys: Sequence[bytes], shared: Sequence[int] = ()) -> bytes:
    """Encodes the keys of a node.

    Args:
        keys: In order, one or more, without what the nodes above give.
        shared: For an interior node, how many bytes of each all the keys below it share.
    """
    prefixes = list(map(measure_prefix, keys, islice(keys, 1, None)))
    suffixes = [key[start:] for key, start in zip(keys, (0, *prefixes), strict=False)]
    columns = (prefixes, list(map(len, suffixes)), shared)
    return b"".join([*map(encode_numbers, columns), *suffixes])


def measure_prefix(left: bytes, right: bytes) -> int:
    """Counts the bytes that two keys share at their beginning.

    >>> measure_prefix(b"layers.10", b"layers.2.")
    7
    """
    length = min(len(left), len(right))
    # One subtraction of long numbers is many times faster than a look at each byte.
    difference = int.from_bytes(left[:length], "big") ^ int.from_bytes(right[:length], "big")
    return length - (difference.bit_length() + 7) // 8
