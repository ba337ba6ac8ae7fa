"""Writer: builds the next state of an Orbax item and publishes it in one step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from tiecli.checkpoints.orbax.directories import STEP
from tiecli.checkpoints.orbax.drafts import Asked, ItemDrafting
from tiecli.checkpoints.orbax.publishing import ItemPublishing, choose_unit
from tiecli.checkpoints.orbax.reader import OrbaxReader
from tiecli.checkpoints.protocol import CommitReport, Metadata, Progress, Target, ignore_progress
from tiecli.checkpoints.staging import writing
from tiecli.checkpoints.storedfile import reading
from tiecli.checkpoints.targets import check_target
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie


class OrbaxWriter:
    """Builds an item from an open one; nothing is visible before `commit`.

    Attributes:
        reader: The source.
        target: Where the new checkpoint goes: of the level of the source, be it an item, a step or a root.
    """

    def __init__(self, reader: OrbaxReader, target: Target) -> None:
        """Refuses a target that cannot be meant, before anything is read.

        Raises:
            TargetExistsError: Something is there.
            TargetIsSourceError: It is the source, or inside it.
            InPlaceError: The source cannot be replaced where it is.
        """
        self.reader = reader
        self.target = target
        self._kept: list[KeyPath] = []
        self._fresh: dict[KeyPath, tuple[LeafSpec, Iterable[memoryview] | KeyPath]] = {}
        self._views: dict[KeyPath, Tie] = {}
        check_target(target, reader.root)
        step = reader.location.step
        with reading(str(step)):
            # A directory may be called like a step and be none.
            inside = step is not None and (step / STEP).exists()
        if step is not None and inside and not target.in_place:
            # Orbax would take whatever lies in a step for an item of it, and fail to restore the others.
            check_target(target, step)

    def keep(self, path: KeyPath) -> None:
        """Takes a leaf over from the source, stored bytes unchanged.

        Raises:
            LeafNotFoundError: The source does not store it.
        """
        self.reader.item.array(path)
        self._kept.append(path)

    def write(self, path: KeyPath, spec: LeafSpec, blocks: Iterable[memoryview], beside: KeyPath | None = None) -> None:  # noqa: ARG002
        """Stores a leaf whose bytes `blocks` yields in C order; consumed at commit.

        Args:
            path: Where the leaf stands: a leaf of the source gets new values, an alias is
                stored as it was before it was tied, any other leaf like its neighbours.
            spec: Its shape and dtype.
            blocks: Its bytes, in pieces of any size.
            beside: Of no account: leaves have no files of their own.
        """
        self._fresh[path] = (spec, blocks)

    def repeat(self, path: KeyPath, of: KeyPath) -> None:
        """Stores a leaf again, under another name, in the form it had before it was tied.

        Args:
            path: Where the new leaf stands, as for `write`.
            of: A leaf of the source.

        Raises:
            LeafNotFoundError: The source does not store `of`.
        """
        self._fresh[path] = (self.reader.item.array(of).metadata.spec, of)

    def alias(self, path: KeyPath, tie: Tie) -> None:
        """Stores a leaf as a second name of its canonical leaf's bytes, which `can_share` says is possible."""
        self._views[path] = tie

    def commit(self, metadata: Metadata, progress: Progress = ignore_progress) -> CommitReport:
        """Writes, syncs and publishes, or leaves nothing behind.

        Raises:
            ManifestError: The source's manifest is damaged.
            SourceChangedError: The source changed meanwhile.
            TargetError: The target cannot be written; the class says why.
        """
        unit = choose_unit(self.reader, self.target)
        step = None if unit.step is None else unit.source / unit.step
        asked = Asked(self._kept, self._fresh, self._views)
        with reading(str(self.reader.root)):
            draft = ItemDrafting(self.reader, step, asked, metadata).draft()
        publishing = ItemPublishing(self.reader, self.target, unit, draft, progress)
        with writing(self.target.path):
            files = publishing.publish()
        target = self.reader.root if self.target.in_place else self.target.path
        return CommitReport(target, tuple(files), draft.restored, tuple(publishing.notices))

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Discards whatever was not committed."""
        self._kept.clear()
        self._fresh.clear()
        self._views.clear()
