"""File store: writes the chunks of an item that has no database, each as a file of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tiecli.checkpoints.copying import Output
from tiecli.checkpoints.orbax.datafiles import DataFiles
from tiecli.checkpoints.orbax.leafdrafts import Encoded, LeafDraft, Stored, View
from tiecli.checkpoints.protocol import KeptFiles, Progress, Target, WrittenFile, ignore_progress
from tiecli.checkpoints.staging import sync_directory
from tiecli.checkpoints.trees import carry_file


def write_files(
    stage: Path, data: DataFiles, leaves: Sequence[LeafDraft], target: Target, progress: Progress
) -> list[WrittenFile]:
    """Writes the drafted leaves, each as a directory of chunk files; arguments as for `write_database`.

    Second names of a leaf's bytes are hard links between its files.

    Raises:
        SourceChangedError: A file changed meanwhile.
        WriteFailedError: Links were asked for, or are needed, and cannot be had here.
        OSError: The system refused.
    """
    written: list[WrittenFile] = []
    for leaf in leaves:
        written.append(write_file(stage, leaf.metadata_key, [leaf.raw], target.sync, ignore_progress))
        match leaf.source:
            case Stored(chunks, again):
                # Bytes that are stored again share nothing, whatever the others do.
                how: KeptFiles = "copy" if again else target.kept_files
                for suffix, value in chunks.items():
                    name = f"{leaf.name}/{suffix}"
                    source = data.directory / value.file
                    written.append(carry_file(source, _room_for(stage, name), name, how, target.sync, progress))
            case Encoded(blocks):
                written += _encode(stage, leaf, blocks, target.sync, progress)
            case View():
                pass
    for leaf in leaves:
        if isinstance(leaf.source, View):
            for new, old in leaf.source.chunks.items():
                name = f"{leaf.name}/{new}"
                source = stage / leaf.source.of / old
                written.append(carry_file(source, _room_for(stage, name), name, "hardlink", target.sync, progress))
    if target.sync:
        for directory in {(stage / file.name).parent for file in written}:
            sync_directory(directory)
    return written


def _encode(
    stage: Path, leaf: LeafDraft, blocks: Iterable[memoryview], sync: bool, progress: Progress
) -> Iterator[WrittenFile]:
    # Brings numpy along, which moving stored bytes does not need.
    from tiecli.checkpoints.zarr.encoding import encode_chunks

    for suffix, pieces in encode_chunks(leaf.metadata, blocks):
        yield write_file(stage, f"{leaf.name}/{suffix}", pieces, sync, progress)


def _room_for(stage: Path, name: str) -> Path:
    """Makes the directories that a file is to stand in."""
    path = stage / name
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def write_file(stage: Path, name: str, pieces: Iterable[bytes], sync: bool, progress: Progress) -> WrittenFile:
    """Writes one new file, piece by piece, and the directories above it.

    Raises:
        OSError: The system refused.
    """
    descriptor = os.open(_room_for(stage, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        output = Output(descriptor, sync, progress)
        for piece in pieces:
            output.write(piece)
            progress(len(piece))
        if sync:
            os.fsync(descriptor)
        return WrittenFile(name, output.position, "written")
    finally:
        os.close(descriptor)
