"""Packing: writes an OCDBT database whose values are taken over from another, without decoding them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Self

from tiecli.checkpoints.copying import BLOCK, Output
from tiecli.checkpoints.ocdbt.database import Value, walk_database
from tiecli.checkpoints.ocdbt.writing import DatabaseEncoder
from tiecli.checkpoints.orbax.datafiles import DataFiles
from tiecli.checkpoints.orbax.directories import DATABASE
from tiecli.checkpoints.orbax.filestore import write_file
from tiecli.checkpoints.orbax.leafdrafts import Encoded, LeafDraft, Stored, Taken, View
from tiecli.checkpoints.protocol import Extent, Progress, Target, WrittenFile, ignore_progress
from tiecli.checkpoints.staging import sync_directory
from tiecli.checkpoints.storedfile import changed
from tiecli.checkpoints.trees import carry_file
from tiecli.digests import digest_bytes
from tiecli.errors import CheckpointError, WriteFailedError

# Source: orbax-checkpoint 0.12.8, its settings for OCDBT.
_LARGEST_FILE = 2 << 30
_LARGEST_INLINE = 1024

_BUG = "This is a bug; report it."

# Below this, blocks that could be shared are not worth a gap in the file.
_WORTH_ALIGNING = 1 << 20


def write_database(
    stage: Path,
    data: DataFiles,
    leaves: Sequence[LeafDraft],
    target: Target,
    progress: Progress,
    strays: Mapping[str, Value] = MappingProxyType({}),
) -> list[WrittenFile]:
    """Writes a database that holds the drafted leaves.

    Kept values are packed into new data files, in their old order; or, where the target
    wants files linked, the old data files are, and only what is new is written.

    Args:
        stage: The directory of the item, being built.
        data: The source's data files.
        leaves: What to store.
        target: How kept files are to be treated, and whether to sync.
        progress: Told of every piece.
        strays: What the source's database holds beside its leaves, which is kept.

    Raises:
        SourceChangedError: A data file became shorter.
        WriteFailedError: Links were asked for and cannot be had here.
        OSError: The system refused.
    """
    (stage / "d").mkdir(mode=0o755)
    kept = [*strays.values(), *(value for leaf in leaves for value in _kept_values(leaf))]
    files = sorted({value.file for value in kept if value.file})
    linked: list[WrittenFile] = []
    if target.kept_files != "copy":
        linked = [_bring(data.directory / name, stage / name, name, target, progress) for name in files]
    with Packer(stage, data, target.sync, progress, seed="".join(files)) as packer:
        values = _place(leaves, strays, packer, pack=not linked)
    written = [*linked, *packer.written, *_write_tree(stage, values, sync=target.sync)]
    if target.sync:
        for directory in {(stage / file.name).parent for file in written}:
            sync_directory(directory)
    return written


def _kept_values(leaf: LeafDraft) -> Iterable[Value]:
    return leaf.source.chunks.values() if isinstance(leaf.source, Stored) else ()


def _place(leaves: Sequence[LeafDraft], strays: Mapping[str, Value], packer: Packer, *, pack: bool) -> dict[str, Value]:
    """Puts every chunk somewhere, and says where."""
    kept = {value for leaf in leaves for value in _kept_values(leaf) if not _is_again(leaf)} | {*strays.values()}
    placed = packer.copy(kept) if pack else {value: value for value in kept}
    values = {key: placed[value] for key, value in strays.items()}
    values |= {leaf.metadata_key: Value("", 0, len(leaf.raw), leaf.raw) for leaf in leaves}
    taken = packer.take([leaf.source.extent for leaf in leaves if isinstance(leaf.source, Taken)])
    for leaf in leaves:
        match leaf.source:
            case Stored(chunks, again):
                at = packer.copy(chunks.values()) if again else placed
                values |= {f"{leaf.name}/{suffix}": at[value] for suffix, value in chunks.items()}
            case Taken(chunk, extent):
                values[f"{leaf.name}/{chunk}"] = taken[extent]
            case Encoded(blocks):
                values |= packer.encode(leaf, blocks)
            case View():
                pass
    for leaf in leaves:
        if isinstance(leaf.source, View):
            of = leaf.source.of
            values |= {f"{leaf.name}/{new}": values[f"{of}/{old}"] for new, old in leaf.source.chunks.items()}
    return values


def _is_again(leaf: LeafDraft) -> bool:
    return isinstance(leaf.source, Stored) and leaf.source.again


def _bring(source: Path, copy: Path, name: str, target: Target, progress: Progress) -> WrittenFile:
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return carry_file(source, copy, name, target.kept_files, target.sync, progress)


def _write_tree(stage: Path, values: dict[str, Value], *, sync: bool) -> Iterator[WrittenFile]:
    """Writes the nodes and, last, the manifest, without which nothing is found."""
    encoder = DatabaseEncoder(values)
    yield write_file(stage, encoder.node_file, encoder.encode_nodes(), sync, ignore_progress)
    yield write_file(stage, DATABASE, (encoder.manifest,), sync, ignore_progress)
    del encoder
    _check_reads_back(stage, values)


def _check_reads_back(stage: Path, values: Mapping[str, Value]) -> None:
    """Reads what was written, a node at a time, and compares it with what it was to be.

    Raises:
        WriteFailedError: It cannot be read, or is something else.
    """
    left = len(values)
    try:
        for entries in walk_database(stage, str(stage)):
            for key, value in entries:
                if values.get(key) != value:
                    raise WriteFailedError(f"`{key}` is not as it should be in what was written", _BUG)
                left -= 1
    except CheckpointError as error:
        raise WriteFailedError(f"what was written cannot be read: {error.message}", _BUG) from error
    if left:
        raise WriteFailedError(f"{left:,} keys are missing in what was written", _BUG)


class Packer:
    """Data files being written one after another.

    Attributes:
        written: Those that are finished.
    """

    def __init__(self, stage: Path, data: DataFiles, sync: bool, progress: Progress, seed: str) -> None:
        self.written: list[WrittenFile] = []
        self._stage = stage
        self._data = data
        self._sync = sync
        self._progress = progress
        # Equal checkpoints are packed into files of equal names.
        self._names = (f"d/{digest_bytes(f'{number} {seed}'.encode()).partition(':')[2]}" for number in count())
        self._name = ""
        self._output: Output | None = None

    def copy(self, values: Iterable[Value]) -> dict[Value, Value]:
        """Copies values, those that lie side by side in one go, and says where each is now."""
        wanted = set(values)
        extents = {
            value: Extent(value.file, self._data.open(value.file).descriptor, value.offset, value.nbytes)
            for value in wanted
            if value.file
        }
        moved = self._move(extents.values())
        return {value: moved[extents[value]] if value in extents else value for value in wanted}

    def take(self, extents: Iterable[Extent]) -> dict[Extent, Value]:
        """Copies bytes of another checkpoint, the way values are stored: small ones inline.

        Raises:
            SourceChangedError: A file is shorter than it was.
        """
        small, large = dict[Extent, Value](), list[Extent]()
        for extent in extents:
            if extent.nbytes > _LARGEST_INLINE:
                large.append(extent)
                continue
            raw = os.pread(extent.descriptor, extent.nbytes, extent.offset)
            if len(raw) < extent.nbytes:
                raise changed(extent.file, "it is shorter than it was")
            small[extent] = Value("", 0, extent.nbytes, raw)
            self._progress(extent.nbytes)
        return small | self._move(large)

    def _move(self, extents: Iterable[Extent]) -> dict[Extent, Value]:
        placed: dict[Extent, Value] = {}
        run: list[Extent] = []
        for extent in sorted(set(extents)):
            if run and not _follows(run, extent):
                self._move_run(run, placed)
                run = []
            run.append(extent)
        if run:
            self._move_run(run, placed)
        return placed

    def _move_run(self, run: Sequence[Extent], placed: dict[Extent, Value]) -> None:
        first, nbytes = run[0].offset, run[-1].offset + run[-1].nbytes - run[0].offset
        output = self._room_for(nbytes)
        if nbytes >= _WORTH_ALIGNING:
            # Where the file system shares blocks, it does between places that lie alike in theirs.
            output.position += (first - output.position) % BLOCK
        start = output.position
        if not output.share(run[0].descriptor, first, nbytes):
            output.copy(run[0].descriptor, first, nbytes)
        for extent in run:
            placed[extent] = Value(self._name, start + extent.offset - first, extent.nbytes)

    def encode(self, leaf: LeafDraft, blocks: Iterable[memoryview]) -> dict[str, Value]:
        """Encodes a leaf chunk by chunk, and says where each is."""
        # Brings numpy along, which moving stored bytes does not need.
        from tiecli.checkpoints.zarr.encoding import encode_chunks

        found: dict[str, Value] = {}
        for suffix, pieces in encode_chunks(leaf.metadata, blocks):
            found[f"{leaf.name}/{suffix}"] = self._write(pieces)
        return found

    def _write(self, pieces: Iterator[bytes]) -> Value:
        start = bytearray()
        for piece in pieces:
            start += piece
            if len(start) > _LARGEST_INLINE:
                break
        else:
            return Value("", 0, len(start), bytes(start))
        output = self._room_for(len(start))
        first = output.position
        output.write(bytes(start))
        for piece in pieces:
            output.write(piece)
            self._progress(len(piece))
        return Value(self._name, first, output.position - first)

    def _room_for(self, nbytes: int) -> Output:
        """Gives the file to write to: another one where this one would grow too long."""
        if self._output is not None and self._output.position + nbytes > _LARGEST_FILE:
            self.close()
        if self._output is None:
            self._name = next(self._names)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self._stage / self._name, flags, 0o644)
            self._output = Output(descriptor, self._sync, self._progress)
        return self._output

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Finishes the last file."""
        self.close()

    def close(self) -> None:
        """Finishes the file that is being written, if any."""
        output, self._output = self._output, None
        if output is None:
            return
        try:
            if self._sync:
                os.fsync(output.descriptor)
        finally:
            os.close(output.descriptor)
        self.written.append(WrittenFile(self._name, output.position, "written"))


def _follows(run: Sequence[Extent], extent: Extent) -> bool:
    """Whether some bytes lie right behind others, and one file can take them all."""
    last = run[-1]
    beside = (extent.file, extent.offset) == (last.file, last.offset + last.nbytes)
    return beside and extent.offset + extent.nbytes - run[0].offset <= _LARGEST_FILE
