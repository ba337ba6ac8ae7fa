"""New item: an Orbax item made of the leaves of another source."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tiecli.checkpoints.contents import Contents, OrbaxForm
from tiecli.checkpoints.orbax.datafiles import DataFiles
from tiecli.checkpoints.orbax.directories import COMMITTED
from tiecli.checkpoints.orbax.documents import store_name
from tiecli.checkpoints.orbax.leafdrafts import Encoded, LeafDraft, Taken, View
from tiecli.checkpoints.orbax.newtree import check_places, compose_documents, prune_record
from tiecli.checkpoints.orbax.packing import write_database
from tiecli.checkpoints.protocol import (
    CheckpointReader,
    CommitReport,
    Progress,
    Target,
    WrittenFile,
    ignore_progress,
)
from tiecli.checkpoints.safetensors.filling import fill_text
from tiecli.checkpoints.staging import Stage, sync_directory, writing
from tiecli.checkpoints.streaming import LeafStream
from tiecli.checkpoints.trees import set_mode
from tiecli.checkpoints.zarr.arrays import ArrayMetadata, make_array
from tiecli.checkpoints.zarr.codecs import ByteCodec
from tiecli.checkpoints.zarr.permuting import Permuted
from tiecli.errors import ConversionError, UnsupportedCheckpointError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.manifest import KEY
from tiecli.ties import Tie


def find_view(tie: Tie, spec: LeafSpec, form: OrbaxForm) -> Permuted | None:
    """Finds the metadata under which the bytes of a new leaf are its alias; None where there is none.

    Args:
        tie: How the alias follows from the leaf.
        spec: The leaf.
        form: How the item is laid out.
    """
    axes = tie.transform.permutation(len(spec.shape))
    if axes is None:
        return None
    try:
        return _make_metadata(spec, form).permute(axes)
    except UnsupportedCheckpointError:
        return None


def _make_metadata(spec: LeafSpec, form: OrbaxForm) -> ArrayMetadata:
    """Chooses how a leaf is stored: its bytes as they are, or compressed as Orbax does."""
    return make_array(spec, form.zarr, like=_compressed() if form.compressed else None, whole=not form.compressed)


def _compressed() -> ArrayMetadata:
    plain = make_array(LeafSpec((1,), DTYPES["U8"]), 2)
    # Source: orbax-checkpoint 0.12.8, its default.
    return replace(plain, layout=plain.layout._replace(codecs=(ByteCodec("zstd", level=1),)))


class NewItem:
    """A directory with one item, decided in full.

    Attributes:
        reader: The source.
        form: How its arrays are stored.
        model: Of the file whose permissions the new ones get.
        drafts: What its store is to hold.
        documents: Its JSON files by name, the one without which nothing is found last.
    """

    def __init__(self, reader: CheckpointReader, contents: Contents, form: OrbaxForm, model: os.stat_result) -> None:
        """Decides how every leaf is stored, and what the JSON files say.

        Raises:
            ConversionError: Orbax cannot hold a leaf, or the leaves make up no tree; names it.
        """
        self.reader = reader
        self.form = form
        self.model = model
        self._sources = contents.leaves
        record = prune_record(contents.record, {*contents.leaves, *contents.shared, *contents.omitted})
        check_places((*contents.leaves, *contents.shared, *contents.omitted), record.nodes)
        self.drafts = (*map(self._draft, contents.leaves), *map(self._view, contents.shared.values()))
        custom = dict(contents.custom)
        if contents.manifest is not None:
            custom[KEY] = json.loads(contents.manifest.to_json())
        arrays = {path: draft.metadata.spec for path, draft in zip(self._paths(contents), self.drafts, strict=True)}
        self.documents = compose_documents(arrays, contents.omitted, record, custom, use_zarr3=form.zarr == 3)

    @staticmethod
    def _paths(contents: Contents) -> Iterator[KeyPath]:
        yield from contents.leaves
        yield from contents.shared

    @property
    def copied_nbytes(self) -> int:
        """How many bytes of leaves the kernel copies as they are."""
        return sum(draft.source.extent.nbytes for draft in self.drafts if isinstance(draft.source, Taken))

    def _draft(self, path: KeyPath) -> LeafDraft:
        source = self._sources[path]
        spec = self.reader.specs()[source]
        try:
            metadata = _make_metadata(spec, self.form)
        except UnsupportedCheckpointError as error:
            raise ConversionError(
                f"`{path}` is {spec}, and Orbax has no arrays of {spec.dtype}", "Cast it in the program that saves."
            ) from error
        extent = None if self.form.compressed else self.reader.extent(source)
        keys = list(metadata.chunk_keys())
        if extent is not None and len(keys) == 1:
            return LeafDraft(store_name(path), metadata, metadata.to_bytes(), Taken(keys[0], extent))
        return LeafDraft(store_name(path), metadata, metadata.to_bytes(), Encoded(LeafStream(self.reader, source)))

    def _view(self, tie: Tie) -> LeafDraft:
        (canonical,) = tie.canonicals
        permuted = find_view(tie, self.reader.specs()[self._sources[canonical]], self.form)
        if permuted is None:
            raise ValueError(f"{tie} cannot be told by metadata alone")
        view = View(store_name(canonical), permuted.chunk_key_map)
        return LeafDraft(store_name(tie.alias), permuted.metadata, permuted.metadata.to_bytes(), view)

    def publish(self, target: Target, progress: Progress = ignore_progress) -> CommitReport:
        """Writes, syncs and publishes, or leaves nothing behind.

        Raises:
            SourceChangedError: The source changed meanwhile.
            CheckpointError: A leaf cannot be read.
            TargetError: The target cannot be written; the class says why.
        """
        with writing(target.path):
            stage = Stage(target.path, directory=True)
            try:
                files = tuple(self._fill(stage.path, target, progress))
                self.reader.check_unchanged()
                stage.publish(sync=target.sync)
            finally:
                stage.discard()
        return CommitReport(target.path, files)

    def _fill(self, item: Path, target: Target, progress: Progress) -> Iterator[WrittenFile]:
        model = self.model
        mode = stat.S_IMODE(model.st_mode) & 0o666
        for file in write_database(item, DataFiles(item), self.drafts, target, progress):
            set_mode(item / file.name, mode)
            yield file
        # The file alone counts, and that on cloud storage only; Orbax writes a path into it, which seldom stays.
        success = f"Checkpoint commit was successful to {target.path.name}"
        for name, raw in {COMMITTED: success.encode(), **self.documents}.items():
            (item / name).parent.mkdir(mode=0o755, exist_ok=True)
            descriptor = os.open(item / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fill_text(descriptor, item / name, raw, model, target.sync)
            finally:
                os.close(descriptor)
            yield WrittenFile(name, len(raw), "written")
        directories = [*(path for path in item.iterdir() if path.is_dir()), item]
        for directory in directories:
            # Whoever may read the files may look into their directories.
            set_mode(directory, mode | (mode & 0o444) >> 2 | stat.S_IRWXU)
            if target.sync:
                sync_directory(directory)
