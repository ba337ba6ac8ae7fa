"""Publishing: puts a draft in place, so that all of the old or all of the new is there at any time."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from tiecli.checkpoints.exchanging import exchange_directory
from tiecli.checkpoints.mending.drafts import COPY, Contents, Draft
from tiecli.checkpoints.mending.sources import Sources
from tiecli.checkpoints.protocol import Progress, WrittenFile
from tiecli.checkpoints.safetensors.filling import fill_file, fill_text
from tiecli.checkpoints.staging import Stage, sync_directory, writing
from tiecli.checkpoints.trees import Entry, set_mode
from tiecli.errors import InPlaceError


class Mending:
    """Publishes a draft.

    Attributes:
        draft: What changes.
        sources: What it was made from.
        sync: Wait until it is on the disk.
        progress: Told of every piece written.
        notices: What the person at the terminal should know.
    """

    def __init__(self, draft: Draft, sources: Sources, *, sync: bool, progress: Progress) -> None:
        self.draft = draft
        self.sources = sources
        self.sync = sync
        self.progress = progress
        self.notices: list[str] = []

    def publish(self) -> None:
        """Writes one file, or the directory whole where several things change; or leaves nothing behind.

        Raises:
            SourceChangedError: The source changed meanwhile.
            TargetError: It cannot be written; the class says why.
        """
        draft = self.draft
        with writing(draft.directory), _rehinting():
            match [*draft.written, *draft.added, *draft.removed, *draft.moved]:
                case []:
                    return
                case [name] if name in draft.written:
                    self._replace(name)
                case [name] if name in draft.added:
                    self._add(name)
                case [name] if name in draft.removed:
                    self._remove(name)
                case _:
                    self._exchange()

    def _replace(self, name: str) -> None:
        path = self.draft.directory / name
        status = path.stat()
        if status.st_nlink > 1:
            self.notices.append(f"`{name}` has other hard links: they keep the old contents, and so the space")
        stage = Stage(path, directory=False)
        try:
            self._fill(stage.descriptor, stage.path, self.draft.written[name], status)
            self.sources.check_unchanged()
            stage.replace(sync=self.sync)
        finally:
            stage.discard()

    def _add(self, name: str) -> None:
        path = self.draft.directory / name
        stage = Stage(path, directory=False)
        try:
            self._fill(stage.descriptor, stage.path, self.draft.added[name], _model(path.parent))
            self.sources.check_unchanged()
            stage.publish(sync=self.sync)
        finally:
            stage.discard()

    def _remove(self, name: str) -> None:
        """Removes where it stands: what a killed run left is still what the next one looks for."""
        path = self.draft.directory / name
        self.sources.check_unchanged()
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        if self.sync:
            sync_directory(path.parent)

    def _exchange(self) -> None:
        """Builds a twin of the innermost directory around all that changes, which takes its place."""
        draft = self.draft.narrow()
        below = {
            str(path.relative_to(draft.directory))
            for name in draft.removed
            for path in (draft.directory / name).rglob("*")
        }

        def build(stage: Path, _: tuple[Entry, ...]) -> list[WrittenFile]:
            """Writes all that is not taken over."""
            for name, contents in draft.written.items():
                self._create(stage / draft.moved.get(name, name), contents, (draft.directory / name).stat())
            for name, raw in draft.added.items():
                _create_above(draft.directory, stage, name)
                self._create(stage / name, raw, _model(draft.directory))
            for name in draft.moved.keys() - draft.written.keys():
                os.link(draft.directory / name, stage / draft.moved[name], follow_symlinks=False)
            return []

        changed = draft.touched | below
        check = self.sources.check_unchanged
        exchange_directory(draft.directory, changed, build, check, self.notices, sync=self.sync)

    def _create(self, path: Path, contents: Contents, status: os.stat_result) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._fill(descriptor, path, contents, status)
        finally:
            os.close(descriptor)

    def _fill(self, descriptor: int, path: Path, contents: Contents, status: os.stat_result) -> None:
        if isinstance(contents, bytes):
            fill_text(descriptor, path, contents, status, self.sync)
        else:
            fill_file(descriptor, path, contents, status, self.sync, self.progress)


@contextlib.contextmanager
def _rehinting() -> Iterator[None]:
    """Has errors hint at what can be done here, where there is no other target to name."""
    try:
        yield
    except InPlaceError as error:
        raise InPlaceError(error.message, COPY) from error


def _create_above(source: Path, stage: Path, name: str) -> None:
    """Creates the directories that a new file lies in, as far as they are new, too."""
    above = [path for path in reversed((stage / name).parents) if path.is_relative_to(stage) and not path.exists()]
    for path in above:
        path.mkdir()
        set_mode(path, stat.S_IMODE(source.stat().st_mode))


def _model(directory: Path) -> os.stat_result:
    """Gives the status that a new file takes its permissions from: the directory's, as far as files have them."""
    status = directory.stat()
    return os.stat_result((status.st_mode & 0o666, *status[1:]))
