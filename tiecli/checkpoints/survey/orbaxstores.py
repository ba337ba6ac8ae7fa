"""Store surveys: which arrays the store of an Orbax item holds, and which of their chunks are not there."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.files import read_node_file
from tiecli.checkpoints.orbax.datafiles import list_files
from tiecli.checkpoints.orbax.directories import DATABASE, PROCESS, Listing
from tiecli.checkpoints.orbax.joining import join_values
from tiecli.checkpoints.orbax.treemetadata import TreeMetadata, TreeNode
from tiecli.checkpoints.storedfile import unreadable
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS, ArrayMetadata, parse_array
from tiecli.errors import CheckpointError, OrbaxMetadataError, UnreadableFileError, UnsupportedCheckpointError

Form = Literal["database", "files", "processes"]

_VERSIONS = {key: version for version, key in METADATA_KEYS.items()}
_SHOWN = 4
# How many chunks may be left out beyond as many as are stored, before no more are looked for.
_PATIENCE = 1 << 16
_MOST_RAW = 1 << 20


class StoredLeaf(NamedTuple):
    """An array that a store holds.

    Attributes:
        version: Of zarr.
        metadata: What it is; None if that is damaged, or of a kind that tiecli does not read.
        problem: What is damaged of that; empty if nothing is.
        faults: Chunks that are not there or of a wrong size, the first few of them, each in words.
    """

    version: int
    metadata: ArrayMetadata | None
    problem: str = ""
    faults: tuple[str, ...] = ()


class StoreSurvey(NamedTuple):
    """What can be told of the store of an item without reading any chunk.

    Attributes:
        form: A database, files, or the databases of several processes that nothing joins yet.
        problem: Why its keys cannot be listed; empty if they can.
        leaves: The arrays that it holds, by name.
        short: Data files that are missing or end too early, each worded as a sentence without
            a period, with the leaves of the tree that lose chunks by it.
    """

    form: Form
    problem: str
    leaves: Mapping[str, StoredLeaf]
    short: Mapping[str, tuple[str, ...]]


def find_form(listing: Listing, tree: TreeMetadata) -> Form | None:
    """Says how the arrays of an item are stored, whatever its `_METADATA` says; None if none are to be seen.

    Args:
        listing: What is in the directory of the item.
        tree: Its tree, whose leaves may be directories.
    """
    if tree.use_ocdbt is False and _holds_leaves(listing, tree):
        return "files"
    if DATABASE in listing.files:
        return "database"
    if any(name.startswith(PROCESS) for name in listing.directories):
        return "processes"
    lost = not tree.use_ocdbt and any(node.is_array for node in tree.nodes)
    return "files" if lost or _holds_leaves(listing, tree) else None


def _holds_leaves(listing: Listing, tree: TreeMetadata) -> bool:
    """Whether a leaf is a directory; names may hold slashes, each a directory of its own."""
    return any(node.is_array and node.name.partition("/")[0] in listing.directories for node in tree.nodes)


def survey_store(item: Path, form: Form, tree: TreeMetadata, label: str) -> StoreSurvey | None:
    """Reads the keys of a store and what they say of arrays; looks whether all chunks of the tree's leaves are there.

    Args:
        item: The directory of the item.
        form: How its arrays are stored.
        tree: Its tree.
        label: What messages call the directory.

    Returns:
        The survey; None where the store is of a kind that tiecli does not read.

    Raises:
        UnreadableFileError: The system refuses.
    """
    try:
        values = _list_values(item, form, label)
    except UnreadableFileError:
        raise
    except UnsupportedCheckpointError:
        return None
    except CheckpointError as error:
        return StoreSurvey(form, error.message, {}, {})
    wanted = 3 if tree.use_zarr3 else 2
    leaves = {name: _read_array(item, name, found, wanted) for name, found in _find_arrays(values).items()}
    chunks = _Chunks(item, values, complete=tree.document.get("store_array_data_equal_to_fill_value") is True)
    for node in tree.nodes:
        leaf = leaves.get(node.name) if node.is_array else None
        if leaf is not None and leaf.metadata is not None:
            faults = tuple(islice(chunks.find_faults(node, leaf.metadata), _SHOWN))
            if faults:
                leaves[node.name] = leaf._replace(faults=faults)
    return StoreSurvey(form, "", leaves, {text: tuple(names) for text, names in chunks.short.items()})


def _list_values(item: Path, form: Form, label: str) -> Mapping[str, Value]:
    match form:
        case "database":
            return read_database(item, label).values
        case "processes":
            return join_values(item)
        case "files":
            return list_files(item)


def _find_arrays(values: Mapping[str, Value]) -> dict[str, dict[int, Value]]:
    """Finds what the store says of arrays, by name and by version of zarr."""
    found: dict[str, dict[int, Value]] = {}
    for key, value in values.items():
        # A third of all keys at most end so, and the ending is cheap to see.
        if key.endswith(("/.zarray", "/zarr.json")):
            name, _, ending = key.rpartition("/")
            found.setdefault(name, {})[_VERSIONS[ending]] = value
    return found


def _read_array(item: Path, name: str, found: Mapping[int, Value], wanted: int) -> StoredLeaf:
    version = wanted if wanted in found else max(found)
    key, value = f"{name}/{METADATA_KEYS[version]}", found[version]
    try:
        if value.nbytes > _MOST_RAW:
            raise OrbaxMetadataError(f"`{key}` has {value.nbytes:,} bytes", "")
        raw = value.inline
        if value.file:
            raw = read_node_file(item, value.file, value.offset, value.nbytes, value.file)
        return StoredLeaf(version, parse_array(raw, key))
    except UnsupportedCheckpointError:
        return StoredLeaf(version, None)
    except UnreadableFileError:
        raise
    except CheckpointError as error:
        return StoredLeaf(version, None, error.message)


class _Chunks:
    """The chunks of an item, and the lengths of the data files that they lie in.

    Attributes:
        short: Data files that are missing or end too early, in words, with leaves that reach beyond their end.
    """

    def __init__(self, item: Path, values: Mapping[str, Value], *, complete: bool) -> None:
        """Takes note of what there is.

        Args:
            item: The directory of the item.
            values: Where the values of all keys lie.
            complete: Whether all chunks have to be there: older Orbax, and whoever asked for
                it, left chunks of zeros out.
        """
        self.short: dict[str, dict[str, None]] = {}
        self._item = item
        self._values = values
        self._complete = complete
        self._patience = len(values) + _PATIENCE
        self._lengths: dict[str, int | None] = {}

    def find_faults(self, node: TreeNode, metadata: ArrayMetadata) -> Iterator[str]:
        """Yields what is wrong with the chunks of a leaf, of which it may state far more than are there."""
        expected = metadata.stored_nbytes
        for suffix in metadata.chunk_keys():
            value = self._values.get(f"{node.name}/{suffix}")
            if value is None:
                if self._complete:
                    yield f"chunk `{suffix}` is missing"
                self._patience -= 1
                if self._patience < 0:
                    return
            elif not value.nbytes or expected not in (None, value.nbytes):
                wanted = "more" if expected is None else f"{expected:,}"
                yield f"chunk `{suffix}` has {value.nbytes:,} bytes, expected {wanted}"
            elif value.file:
                self._check_length(value, node)

    def _check_length(self, value: Value, node: TreeNode) -> None:
        """Notes a leaf if a value of it lies behind the end of its file."""
        if value.file not in self._lengths:
            self._lengths[value.file] = self._measure(value.file)
        length = self._lengths[value.file]
        if length is None:
            self.short.setdefault(f"`{value.file}` is missing", {})[node.path.spelling] = None
        elif length < value.offset + value.nbytes:
            problem = f"`{value.file}` is cut short, it has {length:,} bytes"
            self.short.setdefault(problem, {})[node.path.spelling] = None

    def _measure(self, file: str) -> int | None:
        path = self._item / file
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreadable(str(path), error) from error
        return status.st_size if stat.S_ISREG(status.st_mode) else None
