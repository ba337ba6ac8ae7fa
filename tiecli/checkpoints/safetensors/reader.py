"""Safetensors checkpoints: one file or many shards, read in place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tiecli.boxes import Box
from tiecli.checkpoints.collecting import pause_collecting
from tiecli.checkpoints.protocol import RAW, Extent, LeafStorage, Piece, StoredForm
from tiecli.checkpoints.safetensors.huggingface import Location
from tiecli.checkpoints.safetensors.shardindex import KEY, ShardIndex, check_agreement
from tiecli.checkpoints.storedfile import StoredFile, open_stored, read_text_file, reading
from tiecli.errors import CheckpointNotFoundError, LeafNotFoundError, ShardMismatchError, UnreadableFileError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tiecli.manifest import Manifest
    from tiecli.ties import Tie

# Source: huggingface_hub and transformers, what they write into the metadata of an index.
_INDEX_SIZES = frozenset({"total_size", "total_parameters"})


class SafetensorsReader:
    """Reads a safetensors checkpoint; owns its open files until closed.

    Attributes:
        location: Which files it is made of.
        stored: The open files, in the order of the index.
    """

    format = "safetensors"
    other_nodes: tuple[tuple[KeyPath, str], ...] = ()

    def __init__(self, location: Location) -> None:
        """Opens every file and checks that they make one whole.

        Raises:
            CheckpointError: One of its kinds; see `open_stored` and `check_agreement`.
        """
        self.location = location
        self.stored: tuple[StoredFile, ...] = ()
        self._specs: dict[KeyPath, LeafSpec] | None = None
        self._manifest: Manifest | None = None
        try:
            for shard in location.shards:
                self.stored += (_open_shard(location, shard),)
            if location.index is not None:
                check_agreement(location.index, [(file.name, file.header.specs) for file in self.stored])
        except BaseException:
            self.close()
            raise

    @property
    def root(self) -> Path:
        """The file or directory that is the checkpoint."""
        return self.location.root

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that hold leaves."""
        return self.location.shards

    @property
    def index(self) -> ShardIndex | None:
        """The shard index, or None for a single file."""
        return self.location.index

    def describe(self) -> str:
        """Says nothing: a safetensors checkpoint has one part and one layout."""
        return ""

    def specs(self) -> Mapping[KeyPath, LeafSpec]:
        """Returns every stored leaf, in stored order."""
        if self._specs is None:
            with pause_collecting():
                self._specs = {}
                for file in self.stored:
                    order = file.header.order
                    self._specs.update(zip(_split_names(order), map(file.header.specs.__getitem__, order), strict=True))
        return self._specs

    def place(self, path: KeyPath) -> tuple[StoredFile, str]:
        """Returns the file that holds a leaf, and the leaf's name in it.

        Raises:
            LeafNotFoundError: No file does.
        """
        self._check_stored(path)
        name = path.spelling
        return self._homes[name] if len(self.stored) > 1 else self.stored[0], name

    def file_of(self, path: KeyPath) -> str:
        """Returns the name of the file that holds a leaf.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        self._check_stored(path)
        return self._homes[path.spelling].name if len(self.stored) > 1 else self.stored[0].name

    def _check_stored(self, path: KeyPath) -> None:
        if path not in self.specs():
            raise LeafNotFoundError(
                f"`{path.spelling}` is not stored in `{self.root}`", f"See what is: `tiecli inspect {self.root}`."
            )

    @cached_property
    def _homes(self) -> Mapping[str, StoredFile]:
        return {name: file for file in self.stored for name in file.header.specs}

    def metadata(self) -> Mapping[str, str]:
        """Returns the metadata of all files and of the index as one map, without tiecli's own.

        Where files disagree the first one holds; values of the index that are no strings
        are written as JSON.
        """
        merged: dict[str, str] = {}
        for file in self.stored:
            for key, text in (file.header.metadata or {}).items():
                merged.setdefault(key, text)
        for key, value in (self.index.metadata if self.index else {}).items():
            merged.setdefault(key, value if isinstance(value, str) else json.dumps(value))
        merged.pop(KEY, None)
        return merged

    def custom_metadata(self) -> Mapping[str, object]:
        """Returns the same without the sizes that an index states."""
        sizes = _INDEX_SIZES if self.index else frozenset[str]()
        return {key: text for key, text in self.metadata().items() if key not in sizes}

    def manifest(self) -> Manifest | None:
        """Returns the ties that tiecli wrote down, or None.

        Raises:
            ManifestError: The manifest is damaged, or newer than this tiecli.
        """
        held = self.index.metadata if self.index else (self.stored[0].header.metadata or {})
        if self._manifest is None and KEY in held:
            # Brings the transforms along, which most checkpoints have no use for.
            from tiecli.errors import ManifestError
            from tiecli.manifest import Manifest

            text = held[KEY]
            if not isinstance(text, str):
                raise ManifestError(
                    f"the manifest is {json.dumps(text)[:40]}, expected a string", "See docs/manifest.md."
                )
            self._manifest = Manifest.from_json(text)
        return self._manifest

    def text(self, name: str) -> str | None:
        """Returns a text file that lies beside the weights, or None.

        Raises:
            UnreadableFileError: It is there, but cannot be read, or is not UTF-8.
        """
        with reading(name):
            raw = read_text_file(self.location.directory / name, name)
        try:
            return None if raw is None else raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UnreadableFileError(
                f"`{name}` is not UTF-8: byte {error.start}", "Open it in an editor and save it as UTF-8."
            ) from error

    def extent(self, path: KeyPath) -> Extent:
        """Returns where the stored bytes of a leaf lie.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        file, name = self.place(path)
        begin, end = file.header.infos[name]["data_offsets"]
        return Extent(file.name, file.descriptor, file.header.data_start + begin, end - begin)

    def storage(self, path: KeyPath) -> LeafStorage:
        """Returns how a leaf is stored: as it is.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        return _store_plainly(self.file_of(path), self.specs()[path])

    def shares_bytes(self, path: KeyPath, other: KeyPath) -> bool:
        """Whether both are one leaf: no two names of a safetensors file may have the same bytes."""
        return path == other

    def stored_form(self, path: KeyPath) -> StoredForm:
        """Returns how and where a leaf is stored: always its own bytes, in one run.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        file, _ = self.place(path)
        extent = self.extent(path)
        place = (file.status.st_dev, file.status.st_ino, extent.offset, extent.nbytes)
        return StoredForm(RAW, (extent.nbytes,), (place,))

    def read_stored(self, path: KeyPath, part: int, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` as `read_into` does: a leaf has one part."""
        if part:
            raise IndexError(f"part {part} of a leaf that has one")
        self.read_into(path, offset, buffer)

    def read_into(self, path: KeyPath, offset: int, buffer: memoryview) -> None:
        """Fills `buffer` with stored bytes of a leaf, from its byte `offset` on.

        Raises:
            LeafNotFoundError: There is no such leaf.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        extent = self.extent(path)
        flat = buffer.cast("B")
        if offset < 0 or offset + len(flat) > extent.nbytes:
            raise ValueError(f"bytes {offset} to {offset + len(flat)} of a leaf that has {extent.nbytes}")
        self.place(path)[0].read_into(flat, extent.offset + offset)

    def read_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> bytes:
        """Reads many short pieces of a leaf's stored bytes, one after another.

        Raises:
            LeafNotFoundError: There is no such leaf.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused a read.
        """
        return self.place(path)[0].read_pieces(pieces, self.extent(path).offset)

    def expect_pieces(self, path: KeyPath, pieces: Sequence[Piece]) -> None:
        """Tells the system which pieces will be read soon, so that it fetches them from the disk together.

        Raises:
            LeafNotFoundError: There is no such leaf.
        """
        self.place(path)[0].expect_pieces(pieces, self.extent(path).offset)

    def read_block(self, path: KeyPath, box: Box) -> NDArray[np.generic]:
        """Reads one block of a leaf, as a fresh C-ordered array of its own dtype.

        Raises:
            LeafNotFoundError: There is no such leaf.
            TransformMismatchError: Its elements are smaller than a byte.
            SourceChangedError: The file is shorter than it was when opened.
            UnreadableFileError: The system refused the read.
        """
        from tiecli.checkpoints.blocks import read_box

        file, name = self.place(path)
        return read_box(file, file.header.specs[name], self.extent(path).offset, box, name)

    def can_share(self, tie: Tie) -> bool:  # noqa: ARG002
        """Returns False: two names on one range of bytes are no valid safetensors."""
        return False

    def check_unchanged(self) -> None:
        """Checks that no file changed since it was opened.

        Raises:
            SourceChangedError: One did.
        """
        for file in self.stored:
            file.check_unchanged()

    def close(self) -> None:
        """Closes all files; more than once does no harm."""
        stored, self.stored = self.stored, ()
        self._paths = self._specs = None
        for file in stored:
            file.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes."""
        self.close()


# Most leaves of a checkpoint are stored like many others.
@lru_cache(1024)
def _store_plainly(file: str, spec: LeafSpec) -> LeafStorage:
    return LeafStorage(file, spec.nbytes)


def _split_names(names: Iterable[str]) -> Iterator[KeyPath]:
    """`KeyPath.from_name` of many names, without a step of Python for each."""
    keys = map(tuple, map(str.split, names, repeat(".")))
    return map(partial(tuple.__new__, KeyPath), zip(keys))


def _open_shard(location: Location, shard: str) -> StoredFile:
    path = location.directory / shard
    if location.index is None:
        return open_stored(path, shard, str(path))
    try:
        return open_stored(path, shard, shard)
    except CheckpointNotFoundError as error:
        if path.exists():
            raise
        raise ShardMismatchError(
            f"`{location.index.name}` names the shard `{shard}`, which is not in `{location.directory}`",
            "Download the missing shard into the same directory.",
        ) from error
