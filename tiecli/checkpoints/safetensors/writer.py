"""Writer: builds the next state of a safetensors checkpoint and publishes it in one step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from tiecli.checkpoints.protocol import CommitReport, Metadata, Progress, Target, ignore_progress
from tiecli.checkpoints.safetensors.drafts import Drafting, Rewrite
from tiecli.checkpoints.safetensors.publishing import Publishing
from tiecli.checkpoints.safetensors.reader import SafetensorsReader
from tiecli.checkpoints.staging import writing
from tiecli.checkpoints.storedfile import reading
from tiecli.checkpoints.targets import check_target
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie


class SafetensorsWriter:
    """Builds a checkpoint from an open one; nothing is visible before `commit`.

    Attributes:
        reader: The source.
        target: Where the new checkpoint goes.
    """

    def __init__(self, reader: SafetensorsReader, target: Target) -> None:
        """Refuses a target that cannot be meant, before anything is read.

        Raises:
            TargetExistsError: Something is there.
            TargetIsSourceError: It is the source, or inside it.
            InPlaceError: The source cannot be replaced where it is.
        """
        self.reader = reader
        self.target = target
        self._kept: list[KeyPath] = []
        self._fresh: dict[KeyPath, Rewrite] = {}
        check_target(target, reader.root, [file.path for file in reader.stored])

    def keep(self, path: KeyPath) -> None:
        """Takes a leaf over from the source, stored bytes unchanged.

        Raises:
            LeafNotFoundError: The source does not store it.
        """
        self.reader.place(path)
        self._kept.append(path)

    def write(self, path: KeyPath, spec: LeafSpec, blocks: Iterable[memoryview], beside: KeyPath | None = None) -> None:
        """Stores a leaf whose bytes `blocks` yields in C order; consumed at commit.

        Args:
            path: Where the leaf stands: a leaf of the source gets new values, an alias
                returns to its original place, any other leaf is added at the end.
            spec: Its shape and dtype.
            blocks: Its bytes, in pieces of any size.
            beside: A leaf in whose file to put one that is new; the last file without it.
        """
        self._fresh[path] = Rewrite(spec, blocks, beside)

    def repeat(self, path: KeyPath, of: KeyPath) -> None:
        """Stores a leaf again, under another name: the kernel copies or shares its bytes.

        Args:
            path: Where the new leaf stands, as for `write`; beside `of` if it is new.
            of: A leaf of the source.

        Raises:
            LeafNotFoundError: The source does not store `of`.
        """
        file, name = self.reader.place(of)
        self._fresh[path] = Rewrite(file.header.specs[name], of, of)

    def alias(self, path: KeyPath, tie: Tie) -> None:
        """Refuses: two names on one range of bytes are no valid safetensors, as `can_share` says."""
        raise ValueError(f"`{path.spelling}` cannot be a second name, {tie} in a safetensors file")

    def commit(self, metadata: Metadata, progress: Progress = ignore_progress) -> CommitReport:
        """Writes, syncs and publishes, or leaves nothing behind.

        Raises:
            ManifestError: The source's manifest is damaged.
            SourceChangedError: The source changed meanwhile.
            TargetError: The target cannot be written; the class says why.
        """
        with reading(str(self.reader.root)):
            draft = Drafting(self.reader, self._kept, self._fresh, metadata).draft()
        publishing = Publishing(self.reader, self.target, draft, progress)
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
