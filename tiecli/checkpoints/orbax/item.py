"""Item: the tree, the store and the arrays of one Orbax item, opened and checked to be whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.orbax.datafiles import AGAIN, DataFiles, allow_many_files, list_files
from tiecli.checkpoints.orbax.directories import DATABASE, TREE
from tiecli.checkpoints.orbax.location import Location
from tiecli.checkpoints.orbax.treemetadata import TreeMetadata, TreeNode, parse_tree
from tiecli.checkpoints.storedfile import changed, read_text_file, reading
from tiecli.checkpoints.zarr.arrays import METADATA_KEYS, ArrayMetadata, parse_array
from tiecli.errors import (
    CheckpointNotFoundError,
    LeafNotFoundError,
    MissingChunkError,
    OrbaxMetadataError,
    UnsupportedCheckpointError,
)
from tiecli.keypaths import KeyPath


class StoredArray(NamedTuple):
    """One array leaf: its node in the tree, and what its stored bytes mean."""

    node: TreeNode
    metadata: ArrayMetadata


class StoredItem:
    """One item of an Orbax checkpoint; owns its open files until closed.

    Attributes:
        location: Where it is.
        tree: Its `_METADATA`; of the document, all but the entries.
        values: What its store holds, by key.
        data: Its data files.
        arrays: The leaves that are arrays, in stored order.
        parts: Where the chunks of each of them lie, in grid order.
    """

    def __init__(self, location: Location) -> None:
        """Reads the metadata and checks that all stored bytes are there.

        Raises:
            CheckpointError: One of its kinds.
        """
        self.location = location
        raw = read_text_file(location.item / TREE, TREE)
        if raw is None:
            raise OrbaxMetadataError(
                f"`{location.item}` has no `{TREE}`", "Copy the checkpoint again, hidden files too."
            )
        tree = parse_tree(raw, TREE)
        # The entries are parsed into nodes; as JSON they take more memory than all the rest.
        told = {**tree.document, "tree_metadata": {}}
        if told.get("value_metadata_tree") is not None:
            told["value_metadata_tree"] = {}
        self.tree: TreeMetadata = replace(tree, document=told)
        del raw, tree
        self._watched = {name: _stamp(location.item / name) for name in (TREE, DATABASE)}
        self.data = DataFiles(location.item)
        try:
            self.values: Mapping[str, Value] = self._list_values()
            self.arrays: Mapping[KeyPath, StoredArray] = {
                node.path: self._open_array(node) for node in self.tree.nodes if node.is_array
            }
            self.parts: Mapping[KeyPath, tuple[Value, ...]] = dict(self._find_parts())
        except BaseException:
            self.close()
            raise

    @cached_property
    def use_ocdbt(self) -> bool:
        """Whether the arrays lie in a database, rather than each chunk in a file."""
        stated = self.tree.use_ocdbt
        return (self.location.item / DATABASE).exists() if stated is None else stated

    def _list_values(self) -> Mapping[str, Value]:
        directory = self.location.item
        if not self.use_ocdbt:
            allow_many_files()
            return list_files(directory)
        if not (directory / DATABASE).exists() and not any(node.is_array for node in self.tree.nodes):
            # A tree of texts and empty nodes: Orbax begins no database then.
            return {}
        return read_database(directory, str(directory)).values

    def _open_array(self, node: TreeNode) -> StoredArray:
        key = f"{node.name}/{METADATA_KEYS[3 if self.tree.use_zarr3 else 2]}"
        value = self.values.get(key)
        if value is None and (not node.name or node.name.endswith("/")):
            # Source: tensorstore 0.1.86, measured: it keeps `a/` in the place of `a`.
            raise UnsupportedCheckpointError(
                f"the leaf `{node.path.spelling}` has the name `{node.name}` in the store,"
                " and tiecli reads none that is empty or ends in a slash",
                "Rename the leaf in the program that saves, and save again.",
            )
        if value is None:
            raise OrbaxMetadataError(
                f"`{TREE}` names the leaf `{node.path.spelling}`, but the store holds no `{key}`",
                "Copy the checkpoint again, all of its files.",
            )
        return StoredArray(node, parse_array(self.data.read(value), key))

    def _find_parts(self) -> Iterator[tuple[KeyPath, tuple[Value, ...]]]:
        """Finds every chunk, and checks that it is whole: Orbax itself finds out while it restores."""
        sizes: dict[str, int] = {}
        for path, array in self.arrays.items():
            parts, expected = [], array.metadata.stored_nbytes
            for suffix in array.metadata.chunk_keys():
                key = f"{array.node.name}/{suffix}"
                value = self.values.get(key)
                if value is None:
                    raise self._missing(key, array)
                if value.file and value.offset + value.nbytes > sizes.get(value.file, -1):
                    self.data.check_holds(value, key, sizes)
                if expected not in (None, value.nbytes) or not value.nbytes:
                    wanted = "more" if expected is None else f"{expected:,}"
                    raise MissingChunkError(f"`{key}` has {value.nbytes:,} bytes, expected {wanted}", AGAIN)
                parts.append(value)
            yield path, tuple(parts)

    def _missing(self, key: str, array: StoredArray) -> MissingChunkError | UnsupportedCheckpointError:
        if self.tree.document.get("store_array_data_equal_to_fill_value") is False:
            return UnsupportedCheckpointError(
                f"the chunk `{key}` is not stored, as in checkpoints that leave chunks of zeros out",
                "Restore it and save it again with a current Orbax, which stores every chunk.",
            )
        return MissingChunkError(f"`{array.node.path.spelling}`: its chunk `{key}` is missing", AGAIN)

    def array(self, path: KeyPath) -> StoredArray:
        """Returns an array leaf.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        try:
            return self.arrays[path]
        except KeyError:
            raise LeafNotFoundError(
                f"`{path.spelling}` is not stored in `{self.location.root}`",
                f"See what is: `tiecli inspect {self.location.root}`.",
            ) from None

    def chunks(self, path: KeyPath) -> Mapping[str, Value]:
        """Returns where the chunks of a leaf lie, by their keys within it, in grid order; errors as for `array`."""
        return dict(zip(self.array(path).metadata.chunk_keys(), self.parts[path], strict=True))

    def raw_metadata(self, path: KeyPath) -> bytes:
        """Returns what the store says of the chunks of a leaf, as it lies there; errors as for `array`."""
        array = self.array(path)
        return self.data.read(self.values[f"{array.node.name}/{METADATA_KEYS[array.metadata.version]}"])

    def check_unchanged(self) -> None:
        """Checks that no file changed since it was opened.

        Raises:
            SourceChangedError: One did.
        """
        self.data.check_unchanged()
        for name, stamp in self._watched.items():
            if _stamp(self.location.item / name) != stamp:
                raise changed(name, "it was modified or replaced")

    def close(self) -> None:
        """Closes all files; more than once does no harm."""
        self.data.close()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells one state of a file from another; None where there is none."""
    with contextlib.suppress(CheckpointNotFoundError), reading(str(path)):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None
