"""Creating: a new checkpoint made of one in the other format, or of arrays in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from tiecli.checkpoints.contents import Contents, Form, SafetensorsForm
from tiecli.checkpoints.protocol import CheckpointReader, CommitReport, Progress, Target, ignore_progress
from tiecli.checkpoints.storedfile import reading
from tiecli.leaves import LeafSpec

if TYPE_CHECKING:
    from tiecli.checkpoints.orbax.treerecord import TreeRecord
    from tiecli.ties import Tie


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
