"""New files: a safetensors checkpoint made of the leaves of another source."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tiecli.checkpoints.contents import Contents, SafetensorsForm
from tiecli.checkpoints.orbax.treerecord import KEY as RECORD_KEY
from tiecli.checkpoints.orbax.treerecord import TreeRecord
from tiecli.checkpoints.protocol import (
    CheckpointReader,
    CommitReport,
    Progress,
    Target,
    WrittenFile,
    ignore_progress,
)
from tiecli.checkpoints.safetensors.filling import fill_file, fill_text
from tiecli.checkpoints.safetensors.header import Header
from tiecli.checkpoints.safetensors.layout import FileLayout, Fresh, Part, Run, merge_runs, pad_header, write_header
from tiecli.checkpoints.safetensors.shardindex import SUFFIX
from tiecli.checkpoints.staging import Stage, sync_directory, writing
from tiecli.checkpoints.streaming import LeafStream
from tiecli.checkpoints.trees import set_mode
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import KEY

_STEM = "model"
_SUFFIX = ".safetensors"
_NOTHING = Header(b"{}", {}, {}, (), None)


class NewFiles:
    """A safetensors file, or a directory of shards with their index, decided in full.

    Attributes:
        reader: The source.
        form: How it is laid out.
        model: Of the file whose permissions the new ones get.
        layouts: Each file by its name.
        index: The index; None where one file is all.
    """

    def __init__(
        self, reader: CheckpointReader, contents: Contents, form: SafetensorsForm, model: os.stat_result
    ) -> None:
        """Lays every file out.

        Raises:
            WriteFailedError: A header grows beyond what the format allows.
        """
        self.reader = reader
        self.form = form
        self.model = model
        self._contents = contents
        shards = _split(contents.leaves, reader.specs(), form.shard_nbytes)
        if len(shards) == 1:
            names: Iterable[str] = [_STEM + _SUFFIX]
        else:
            names = (f"{_STEM}-{number:05d}-of-{len(shards):05d}{_SUFFIX}" for number in range(1, len(shards) + 1))
        homes = dict(zip(names, shards, strict=True))
        self.index = None if len(shards) == 1 else self._compose_index(homes)
        self.layouts = {
            name: self._lay_out(paths, self._compose_metadata(is_first=paths is shards[0]))
            for name, paths in homes.items()
        }

    @property
    def copied_nbytes(self) -> int:
        """How many bytes of leaves the kernel copies as they are."""
        parts = (part for layout in self.layouts.values() for part in layout.parts)
        return sum(part.nbytes for part in parts if isinstance(part, Run))

    def _compose_metadata(self, *, is_first: bool) -> dict[str, str]:
        """The metadata of a file; what speaks for the whole checkpoint stands in the first."""
        contents = self._contents
        # Source: transformers 4.57, which refuses a file that does not say so.
        metadata = {"format": "pt"}
        if is_first:
            metadata |= {key: text for key, text in contents.custom.items() if isinstance(text, str)}
            if contents.record != TreeRecord():
                metadata[RECORD_KEY] = contents.record.to_json()
            if self.index is None:
                for alias, canonical in contents.conventional.items():
                    metadata.setdefault(alias, canonical)
                if contents.manifest is not None:
                    metadata[KEY] = contents.manifest.to_json()
        return metadata

    def _compose_index(self, homes: Mapping[str, tuple[KeyPath, ...]]) -> bytes:
        contents, specs = self._contents, self.reader.specs()
        total = sum(specs[source].nbytes for source in contents.leaves.values())
        metadata: dict[str, object] = {"total_size": total, **contents.conventional}
        if contents.manifest is not None:
            metadata[KEY] = contents.manifest.to_json()
        weight_map = {path.spelling: name for name, paths in homes.items() for path in paths}
        document = {"metadata": metadata, "weight_map": weight_map}
        return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode("utf-8")

    def _lay_out(self, paths: tuple[KeyPath, ...], metadata: Mapping[str, str]) -> FileLayout:
        specs, sources = self.reader.specs(), self._contents.leaves
        # Wide elements first, as the reference writer has them: so each lies at a multiple of its size.
        ordered = sorted(paths, key=lambda path: -specs[sources[path]].dtype.bits)
        wanted = {path.spelling: specs[sources[path]] for path in ordered}
        parts = merge_runs(self._part(path, sources[path]) for path in ordered)
        return FileLayout(pad_header(write_header(_NOTHING, wanted, metadata), parts), parts, len(wanted))

    def _part(self, path: KeyPath, source: KeyPath) -> Part:
        extent = self.reader.extent(source)
        if extent is not None:
            return Run(extent.descriptor, extent.offset, extent.nbytes)
        return Fresh(path.spelling, self.reader.specs()[source].nbytes, LeafStream(self.reader, source))

    def publish(self, target: Target, progress: Progress = ignore_progress) -> CommitReport:
        """Writes, syncs and publishes, or leaves nothing behind.

        Raises:
            SourceChangedError: The source changed meanwhile.
            CheckpointError: A leaf cannot be read.
            TargetError: The target cannot be written; the class says why.
        """
        with writing(target.path):
            stage = Stage(target.path, directory=not self.form.single)
            try:
                files = tuple(self._fill(stage, target, progress))
                self.reader.check_unchanged()
                stage.publish(sync=target.sync)
            finally:
                stage.discard()
        return CommitReport(target.path, files)

    def _fill(self, stage: Stage, target: Target, progress: Progress) -> Iterator[WrittenFile]:
        model = self.model
        if self.form.single:
            (layout,) = self.layouts.values()
            fill_file(stage.descriptor, stage.path, layout, model, target.sync, progress)
            yield WrittenFile(target.path.name, layout.nbytes, "written")
            return
        for name, layout in self.layouts.items():
            descriptor = _create(stage.path / name)
            try:
                fill_file(descriptor, stage.path / name, layout, model, target.sync, progress)
            finally:
                os.close(descriptor)
            yield WrittenFile(name, layout.nbytes, "written")
        if self.index is not None:
            descriptor = _create(stage.path / (_STEM + SUFFIX))
            try:
                fill_text(descriptor, stage.path / (_STEM + SUFFIX), self.index, model, target.sync)
            finally:
                os.close(descriptor)
            yield WrittenFile(_STEM + SUFFIX, len(self.index), "written")
        # Whoever may read the files may look into their directory.
        set_mode(stage.path, stat.S_IMODE(model.st_mode) | (model.st_mode & 0o444) >> 2 | stat.S_IRWXU)
        if target.sync:
            sync_directory(stage.path)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _split(
    leaves: Mapping[KeyPath, KeyPath], specs: Mapping[KeyPath, LeafSpec], limit: int | None
) -> list[tuple[KeyPath, ...]]:
    """Deals leaves out to shards in their order; one that is larger than a shard has one to itself."""
    shards: list[list[KeyPath]] = [[]]
    size = 0
    for path, source in leaves.items():
        nbytes = specs[source].nbytes
        if limit is not None and shards[-1] and size + nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(path)
        size += nbytes
    return [tuple(shard) for shard in shards]
