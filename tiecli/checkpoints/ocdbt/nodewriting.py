"""Node writing: encodes nodes, each with what the node above it has to tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tiecli.checkpoints.ocdbt.frames import NODE, seal_frame
from tiecli.checkpoints.ocdbt.keys import encode_keys, measure_prefix
from tiecli.checkpoints.ocdbt.nodes import Value
from tiecli.checkpoints.ocdbt.numbers import encode_number, encode_numbers
from tiecli.checkpoints.ocdbt.tables import encode_table

# Values may be counted by many keys, and a sum stays at what 64 bits can hold.
_MOST = (1 << 64) - 1


class WrittenNode(NamedTuple):
    """A node that was encoded.

    Attributes:
        first: Its first key.
        shared: How many bytes of that all of its keys begin with; they are not in the node.
        height: Its height.
        nbytes: Its length.
        frame: The node itself, ready to be stored; empty once it was.
        statistics: How many keys, bytes of nodes, and bytes of values apart there are in it and below.
    """

    first: bytes
    shared: int
    height: int
    nbytes: int
    frame: bytes
    statistics: tuple[int, int, int]


def write_leaf(items: Sequence[tuple[bytes, Value]], *, is_root: bool) -> WrittenNode:
    """Encodes keys and their values, in the order of the keys."""
    first, last = items[0][0], items[-1][0]
    shared = 0 if is_root else measure_prefix(first, last)
    far = [value for _, value in items if value.file]
    names = sorted({value.file for value in far})
    places = {name: place for place, name in enumerate(names)}
    body = [
        bytes([0]),
        encode_table(names),
        encode_number(len(items)),
        encode_keys([key[shared:] for key, _ in items]),
        encode_numbers([value.nbytes if value.file else len(value.inline) for _, value in items]),
        bytes([1 if value.file else 0 for _, value in items]),
        encode_numbers([places[value.file] for value in far]),
        encode_numbers([value.offset for value in far]),
        *[value.inline for _, value in items if not value.file],
    ]
    frame = seal_frame(b"".join(body), NODE)
    apart = sum(value.nbytes for value in far)
    return WrittenNode(first, shared, 0, len(frame), frame, (len(items), len(frame), min(apart, _MOST)))


def write_interior(below: Sequence[tuple[WrittenNode, int]], file: str, *, is_root: bool) -> WrittenNode:
    """Encodes references to nodes and their offsets in a data file, in the order of their keys."""
    nodes = [node for node, _ in below]
    first, last, height = nodes[0].first, nodes[-1].first, nodes[0].height + 1
    shared = 0 if is_root else min(measure_prefix(first, last), *(node.shared for node in nodes))
    body = [
        bytes([height]),
        encode_table([file]),
        encode_number(len(nodes)),
        encode_keys([node.first[shared:] for node in nodes], [node.shared - shared for node in nodes]),
        encode_numbers([0] * len(nodes)),
        encode_numbers([offset for _, offset in below]),
        encode_numbers([node.nbytes for node in nodes]),
        *[encode_numbers([node.statistics[column] for node in nodes]) for column in range(3)],
    ]
    frame = seal_frame(b"".join(body), NODE)
    keys, nbytes, apart = (sum(column) for column in zip(*(node.statistics for node in nodes), strict=True))
    return WrittenNode(first, shared, height, len(frame), frame, (keys, nbytes + len(frame), min(apart, _MOST)))
