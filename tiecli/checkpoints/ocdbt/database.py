"""Database: every key of an OCDBT database, and where its value lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.collecting import pause_collecting
from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor
from tiecli.checkpoints.ocdbt.files import read_manifest_file, read_node_file
from tiecli.checkpoints.ocdbt.frames import NODE, open_frame
from tiecli.checkpoints.ocdbt.manifest import MANIFEST_FILE, parse_manifest
from tiecli.checkpoints.ocdbt.nodes import NodeReference, Value, decode_interior, decode_leaf

__all__ = ["Database", "Value", "read_database", "walk_database"]


class Database(NamedTuple):
    """An OCDBT database.

    Attributes:
        values: Where the value of each key lies, in the order of the keys' bytes.
    """

    values: Mapping[str, Value]


def read_database(directory: Path, label: str) -> Database:
    """Reads the newest version of a database, and no value but those that stand in the tree.

    Whether the files that hold the others are there, and are as long as they must be, is left
    to whoever reads them. Their names stay inside the directory.

    Args:
        directory: Where its manifest stands.
        label: What errors call the directory.

    Raises:
        DatabaseError: The manifest or a node is missing or damaged.
        UnsupportedCheckpointError: It is of a kind that tiecli does not read.
        LfsPointerError: The manifest or the file of a node is a Git LFS pointer.
        UnreadableFileError: The system refuses to read a file.
    """
    with pause_collecting():
        return Database(dict(chain.from_iterable(walk_database(directory, label))))


def walk_database(directory: Path, label: str) -> Iterator[Iterable[tuple[str, Value]]]:
    """Yields the keys of the newest version of a database and where their values lie, node by node.

    Arguments and errors as for `read_database`.
    """
    allowance = Allowance()
    name = f"{label}/{MANIFEST_FILE}"
    root = parse_manifest(read_manifest_file(directory, MANIFEST_FILE, name), f"`{name}`", allowance)
    last = b""
    # Nodes are read in the order of their keys; each stands lower than the one that refers to it.
    waiting = [] if root is None else [root]
    while waiting:
        reference = waiting.pop()
        cursor = _open_node(directory, label, reference, allowance)
        if reference.height:
            below = decode_interior(cursor, reference.file.base, reference.prefix, reference.height)
            _check_first(cursor, reference, below[0].first)
            waiting.extend(reversed(below))
            continue
        keys, found = decode_leaf(cursor, reference.file.base, reference.prefix)
        _check_first(cursor, reference, keys[0])
        if (last and keys[0] <= last) or (waiting and keys[-1] >= waiting[-1].first):
            cursor.refuse("its keys are out of order with those of the nodes beside it")
        last = keys[-1]
        # What is left of the node is needed no more while its keys are dealt with.
        cursor = Cursor(b"", cursor.label, allowance)
        try:
            names = list(map(bytes.decode, keys))
        except UnicodeDecodeError as error:
            cursor.refuse(f"a key is not UTF-8: {error.object[:80]!r}")
        yield zip(names, found, strict=True)


def _open_node(directory: Path, label: str, reference: NodeReference, allowance: Allowance) -> Cursor:
    file, offset, nbytes, height = reference[:4]
    name = f"{label}/{file.name}"
    called = f"the node at byte {offset:,} of `{name}`"
    allowance.spend_node(nbytes, called)
    cursor = open_frame(read_node_file(directory, file.name, offset, nbytes, name), NODE, called, allowance)
    found = cursor.read_byte()
    if found != height:
        cursor.refuse(f"it is of height {found}, expected {height}")
    return cursor


def _check_first(cursor: Cursor, reference: NodeReference, first: bytes) -> None:
    if first < reference.first:
        cursor.refuse(f"it begins before the first key that the node above states: {reference.first[:80]!r}")
