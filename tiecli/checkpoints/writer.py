"""Writer: builds the next state of a safetensors checkpoint and publishes it in one step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tiecli.checkpoints.drafts import Drafting, Rewrite
from tiecli.checkpoints.protocol import CommitReport, Metadata, Progress, Target, ignore_progress
from tiecli.checkpoints.publishing import Publishing, refuse_link
from tiecli.checkpoints.safetensors import SafetensorsReader
from tiecli.checkpoints.staging import refuse_existing, writing
from tiecli.checkpoints.storedfile import reading
from tiecli.errors import InPlaceError, TargetIsSourceError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec


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
        with writing(target.path):
            self._check_target()

    def _check_target(self) -> None:
        source, path = self.reader.root, self.target.path
        if self.target.in_place:
            if not path.exists() or not (path.samefile(source) or path.parent.samefile(source)):
                raise InPlaceError(f"`{path}` is not the source, `{source}`", "Use `-o` for another target.")
            if not source.is_dir():
                refuse_link(source)
            return
        if path.exists() and any(path.samefile(at) for at in (source, *self._source_files())):
            raise TargetIsSourceError(
                f"the target `{path}` is the source itself", "Use --in-place to rewrite it, or name another target."
            )
        if source.is_dir() and source.resolve() in path.absolute().parent.resolve().joinpath(path.name).parents:
            raise TargetIsSourceError(
                f"the target `{path}` lies inside the source `{source}`", "Name one outside of it."
            )
        refuse_existing(path)

    def _source_files(self) -> list[Path]:
        return [file.path for file in self.reader.stored]

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
