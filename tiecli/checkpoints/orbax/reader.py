"""Reader: the arrays of one Orbax item, from its metadata and its stored chunks."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from tiecli.boxes import Box
from tiecli.checkpoints.jsonfiles import decode_object
from tiecli.checkpoints.orbax.directories import DATABASE, STEP
from tiecli.checkpoints.orbax.item import StoredItem
from tiecli.checkpoints.orbax.location import Location
from tiecli.checkpoints.orbax.sidecars import Sidecars, read_sidecars
from tiecli.checkpoints.orbax.strays import name_strays
from tiecli.checkpoints.protocol import RAW, Extent, LeafStorage, Piece, Place, StoredForm
from tiecli.checkpoints.storedfile import read_text_file, reading
from tiecli.errors import UnsupportedCheckpointError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tiecli.checkpoints.zarr.chunks import ChunkedLeaf
    from tiecli.checkpoints.zarr.permuting import Permuted
    from tiecli.checkpoints.zarr.spool import Spool
    from tiecli.manifest import Manifest
    from tiecli.ties import Tie

KEY = "tiecli"


class OrbaxReader:
    """Reads one item of an Orbax checkpoint; owns its open files until closed.

    Attributes:
        location: Where it is.
        item: Its tree, its store and its arrays.
    """

    format = "orbax"

    def __init__(self, location: Location) -> None:
        """Reads the metadata and checks that all stored bytes are there.

        Raises:
            CheckpointError: One of its kinds.
        """
        self.location = location
        self.item = StoredItem(location)
        self._chunked: dict[KeyPath, ChunkedLeaf] = {}
        self._spool: Spool | None = None
        self._lock = Lock()
        self._manifest: Manifest | None = None

    @property
    def root(self) -> Path:
        """The checkpoint, as the user spelled it."""
        return self.location.root

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Names of the files that hold leaves."""
        return tuple(sorted({part.file or DATABASE for parts in self.item.parts.values() for part in parts}))

    @property
    def other_nodes(self) -> tuple[tuple[KeyPath, str], ...]:
        """Places of the tree that hold no array, each with what it holds; also arrays that have no place in it."""
        found = [(node.path, node.value_type) for node in self.item.tree.nodes if not node.is_array]
        return (*found, *((KeyPath((name,)), "unnamed array") for name in name_strays(self.item)))

    def describe(self) -> str:
        """Words which part of the checkpoint this is, and how it is laid out."""
        location = self.location
        part = [f"step {location.step_number}"] if location.step_number is not None else []
        part += [f"item {location.item_name}"] if location.item_name else []
        layout = ["OCDBT" if self.item.use_ocdbt else "a file a chunk", f"zarr{3 if self.item.tree.use_zarr3 else 2}"]
        return "; ".join(filter(None, (", ".join(part), *location.notices, ", ".join(layout))))

    def specs(self) -> Mapping[KeyPath, LeafSpec]:
        """Returns every array leaf, in the order of the tree."""
        return self._specs

    @cached_property
    def _specs(self) -> Mapping[KeyPath, LeafSpec]:
        return {path: array.metadata.spec for path, array in self.item.arrays.items()}

    def file_of(self, path: KeyPath) -> str:
        """Returns the name of the file that holds a leaf; `several` for many.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        self.item.array(path)
        names = {part.file or DATABASE for part in self.item.parts[path]}
        return names.pop() if len(names) == 1 else "several"

    def metadata(self) -> Mapping[str, str]:
        """Returns what the item and its step carry for people, without tiecli's own, as JSON where it is no text."""
        custom = self.custom_metadata().items()
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in custom}

    def custom_metadata(self) -> Mapping[str, object]:
        """Returns the same as it is."""
        found = dict(self.item.tree.custom)
        for key, value in self._step_metadata().items():
            found.setdefault(key, value)
        found.pop(KEY, None)
        return found

    def _step_metadata(self) -> dict[str, object]:
        directory = self.location.step or self.location.item
        with reading(STEP):
            raw = read_text_file(directory / STEP, STEP)
        document = {} if raw is None else decode_object(raw, STEP)
        custom, metrics = document.get("custom_metadata"), document.get("metrics")
        found = dict(custom) if isinstance(custom, dict) else {}
        return {**found, "metrics": metrics} if metrics else found

    def manifest(self) -> Manifest | None:
        """Returns the ties that tiecli wrote down, or None.

        Raises:
            ManifestError: The manifest is damaged, or newer than this tiecli, or names a leaf that is not there.
        """
        if self._manifest is None and KEY in self.item.tree.custom:
            # Brings the transforms along, which most checkpoints have no use for.
            from tiecli.manifest import Manifest

            manifest = Manifest.from_json(json.dumps(self.item.tree.custom[KEY], ensure_ascii=False))
            manifest.ties.check_roots(self.item.arrays)
            self._manifest = manifest
        return self._manifest

    def text(self, name: str) -> str | None:  # noqa: ARG002
        """Returns None: an Orbax item has no text files that concern its leaves."""
        return None

    def storage(self, path: KeyPath) -> LeafStorage:
        """Returns how a leaf is stored, for people.

        Raises:
            LeafNotFoundError: There is no such leaf.
            OrbaxMetadataError: A side file is damaged.
        """
        array, parts = self.item.array(path), self.item.parts[path]
        return LeafStorage(
            file=self.file_of(path),
            nbytes=sum(part.nbytes for part in parts),
            codec=array.metadata.codec,
            chunk_shape=array.metadata.chunk_shape,
            chunks=len(parts),
            sharding=self._sidecars.shardings.get(array.node.name, ""),
            kind=self._sidecars.kinds.get(array.node.name, array.node.value_type),
        )

    @cached_property
    def _sidecars(self) -> Sidecars:
        with reading(str(self.location.item)):
            return read_sidecars(self.location.item)

    def stored_form(self, path: KeyPath) -> StoredForm:
        """Returns how and where a leaf is stored.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        encoding, parts = self.item.array(path).metadata.encoding, self.item.parts[path]
        places = tuple(place for part in parts if (place := self.item.data.place(part)) is not None)
        return StoredForm(encoding, tuple(part.nbytes for part in parts), places)

    def extent(self, path: KeyPath) -> Extent | None:
        """Returns where the bytes of a leaf lie, if they lie in a file and in C order.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        values = list(self.item.chunks(path).values())
        if self.item.array(path).metadata.encoding != RAW or len(values) != 1 or not values[0].file:
            return None
        value = values[0]
        return Extent(value.file, self.item.data.open(value.file).descriptor, value.offset, value.nbytes)

    def shares_bytes(self, path: KeyPath, other: KeyPath) -> bool:
        """Whether two names lead to the same stored bytes, be it along other axes.

        Chunks that are so small that they lie inside the database lie there once for each name.
        """
        parts = self._share(path)
        return bool(parts) and parts == self._share(other)

    def _share(self, path: KeyPath) -> frozenset[Place | bytes]:
        return frozenset(self.item.data.place(part) or part.inline for part in self.item.parts[path])

    def read_stored(self, path: KeyPath, part: int, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with the stored bytes of one chunk of a leaf.

        Raises:
            LeafNotFoundError: There is no such leaf.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        self.item.array(path)
        self.item.data.read_into(self.item.parts[path][part], offset, buffer)

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with the bytes of a leaf in C order, from its byte `offset` on.

        Raises:
            LeafNotFoundError: There is no such leaf.
            ChunkError: A stored chunk does not decode.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        if self.item.array(path).metadata.encoding == RAW:
            self.read_stored(path, 0, offset, buffer.cast("B"))
        else:
            self._values(path).read_into(offset, buffer)

    def read_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> bytes:
        """Reads many short pieces of a leaf's bytes in C order; errors as for `read_into`."""
        return self._values(path).read_pieces(pieces)

    def expect_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> None:
        """Tells the system which pieces of a plainly stored leaf will be read soon; compressed ones are read whole."""
        if self.item.array(path).metadata.encoding != RAW:
            return
        (value,) = self.item.parts[path]
        for offset, length in pieces if value.file else ():
            with contextlib.suppress(AttributeError, OSError):
                descriptor = self.item.data.open(value.file).descriptor
                os.posix_fadvise(descriptor, value.offset + offset, length, os.POSIX_FADV_WILLNEED)

    def read_block(self, path: KeyPath, box: Box) -> NDArray[np.generic]:
        """Reads one block of a leaf, as a fresh C-ordered array of its own dtype.

        Raises:
            LeafNotFoundError: There is no such leaf.
            TransformMismatchError: Its elements are smaller than a byte.
            ChunkError: A stored chunk does not decode.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        return self._values(path).read_box(box)

    def _values(self, path: KeyPath) -> ChunkedLeaf:
        """Gives random access to the values of a leaf."""
        from tiecli.checkpoints.zarr.chunks import ChunkedLeaf, StoredChunk
        from tiecli.checkpoints.zarr.spool import Spool

        with self._lock:
            if self._spool is None:
                self._spool = Spool()
            if path not in self._chunked:
                values = self.item.parts[path]
                chunks = [
                    StoredChunk(self.item.data.open(value.file).descriptor, value.offset, value.nbytes)
                    if value.file
                    else StoredChunk(-1, 0, value.nbytes, value.inline)
                    for value in values
                ]
                self._chunked[path] = ChunkedLeaf(self.item.array(path).metadata, chunks, path.spelling, self._spool)
            return self._chunked[path]

    def can_share(self, tie: Tie) -> bool:
        """Whether an alias can be stored as a second name of its canonical leaf's bytes; there are some."""
        return len(tie.canonicals) == 1 and bool(self.specs()[tie.canonicals[0]].size) and self.view_of(tie) is not None

    def view_of(self, tie: Tie) -> Permuted | None:
        """Returns the metadata under which the canonical leaf's bytes are the alias, if there is one."""
        axes = tie.transform.permutation(len(self.specs()[tie.canonicals[0]].shape))
        if axes is None:
            return None
        try:
            return self.item.array(tie.canonicals[0]).metadata.permute(axes)
        except UnsupportedCheckpointError:
            return None

    def check_unchanged(self) -> None:
        """Checks that no file changed since it was opened.

        Raises:
            SourceChangedError: One did.
        """
        self.item.check_unchanged()

    def close(self) -> None:
        """Closes all files; more than once does no harm."""
        self._chunked.clear()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self.item.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes."""
        self.close()
