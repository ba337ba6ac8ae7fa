"""Creating: a new checkpoint made of one in the other format, or of arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from tiecli.checkpoints.protocol import CheckpointReader, CommitReport, Progress, Target, ignore_progress
from tiecli.checkpoints.storedfile import reading
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    from tiecli.checkpoints.orbax.treerecord import TreeRecord
    from tiecli.manifest import Manifest
    from tiecli.ties import Tie


class SafetensorsForm(NamedTuple):
    """How a new safetensors checkpoint is laid out.

    Attributes:
        single: It is one file, not a directory.
        shard_nbytes: Begin another shard where one would grow beyond this; None for one file.
    """

    single: bool
    shard_nbytes: int | None = None


class OrbaxForm(NamedTuple):
    """How a new Orbax item is laid out.

    Attributes:
        zarr: Which version of zarr describes its arrays.
        compressed: Whether they are compressed, as Orbax does by default.
    """

    zarr: Literal[2, 3] = 2
    compressed: bool = False


Form = SafetensorsForm | OrbaxForm


@dataclass(frozen=True, slots=True)
class Contents:
    """What a new checkpoint is to hold, in its own names.

    Attributes:
        leaves: Each stored leaf, and the leaf of the source that it is.
        record: What an Orbax tree has beside them.
        manifest: The ties, or None if there are none.
        shared: Aliases that are second names of their canonical leaves' bytes.
        omitted: Aliases that are not stored.
        conventional: `alias -> canonical` names for plain `same` ties, in the convention of
            `safetensors.torch.save_model`.
        custom: The metadata, as JSON values; texts only for safetensors.
    """

    leaves: Mapping[KeyPath, KeyPath]
    record: TreeRecord
    manifest: Manifest | None = None
    shared: Mapping[KeyPath, Tie] = field(default_factory=dict)
    omitted: Collection[KeyPath] = ()
    conventional: Mapping[str, str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)


class Creation(Protocol):
    """A checkpoint decided in full, to be published once."""

    @property
    def copied_nbytes(self) -> int:
        """How many bytes of leaves the kernel copies as they are; the others are decoded or encoded."""

    def publish(self, target: Target, progress: Progress = ignore_progress) -> CommitReport:
        """Writes, syncs and publishes, or leaves nothing behind.

        Raises:
            SourceChangedError: The source changed meanwhile.
            CheckpointError: A leaf cannot be read.
            TargetError: The target cannot be written; the class says why.
        """


def can_share(tie: Tie, spec: LeafSpec, form: Form) -> bool:
    """Whether an alias can be a second name of its canonical leaf's bytes in a new checkpoint.

    Args:
        tie: How it follows.
        spec: The canonical leaf.
        form: How the checkpoint is laid out.
    """
    if isinstance(form, SafetensorsForm) or len(tie.canonicals) > 1 or not spec.size:
        return False
    from tiecli.checkpoints.orbax.newitem import find_view

    return find_view(tie, spec, form) is not None


def describe_source(reader: CheckpointReader) -> tuple[TreeRecord, tuple[str, ...]]:
    """Reads what a checkpoint knows of an Orbax tree, and words what of it cannot be carried along.

    Raises:
        OrbaxMetadataError: A file of the tree is damaged.
        ManifestError: What a safetensors checkpoint carries of a tree is damaged.
        UnreadableFileError: The system refuses.
    """
    from tiecli.checkpoints.orbax.treerecord import KEY, TreeRecord

    if reader.format == "orbax":
        from tiecli.checkpoints.orbax.describing import describe_tree
        from tiecli.checkpoints.orbax.reader import OrbaxReader

        assert isinstance(reader, OrbaxReader)
        with reading(str(reader.root)):
            return describe_tree(reader)
    text = reader.metadata().get(KEY)
    return (TreeRecord() if text is None else TreeRecord.from_json(text)), ()


def draft_creation(reader: CheckpointReader, contents: Contents, form: Form) -> Creation:
    """Decides all of a new checkpoint, and writes nothing.

    Args:
        reader: The source: a checkpoint of the other format, or arrays in memory.
        contents: What to store.
        form: How to lay it out.

    Raises:
        ConversionError: The format cannot hold a leaf; names it.
        WriteFailedError: A header grows beyond what the format allows.
        UnreadableFileError: The system refuses.
    """
    with reading(str(reader.root)):
        model = _find_model(reader)
    if isinstance(form, SafetensorsForm):
        from tiecli.checkpoints.safetensors.newfiles import NewFiles

        return NewFiles(reader, contents, form, model)
    from tiecli.checkpoints.orbax.newitem import NewItem

    return NewItem(reader, contents, form, model)


def _find_model(reader: CheckpointReader) -> os.stat_result:
    """Finds the file of a source whose permissions new files get."""
    if reader.format == "orbax":
        from tiecli.checkpoints.orbax.directories import TREE
        from tiecli.checkpoints.orbax.reader import OrbaxReader

        assert isinstance(reader, OrbaxReader)
        return (reader.location.item / TREE).stat()
    if reader.format == "safetensors":
        from tiecli.checkpoints.safetensors.reader import SafetensorsReader

        assert isinstance(reader, SafetensorsReader)
        return reader.stored[0].status if reader.stored else reader.location.directory.stat()
    from tiecli.checkpoints.memory import ArrayReader

    assert isinstance(reader, ArrayReader)
    return reader.permissions
