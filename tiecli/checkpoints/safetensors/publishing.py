"""Publishing: puts a drafted checkpoint beside its target, and then in its place."""

from __future__ import annotations

import os
from pathlib import Path

from tiecli.checkpoints.exchanging import exchange_directory
from tiecli.checkpoints.protocol import Progress, Target, WrittenFile
from tiecli.checkpoints.safetensors.drafts import Draft
from tiecli.checkpoints.safetensors.filling import fill_file, fill_text
from tiecli.checkpoints.safetensors.layout import FileLayout, Run
from tiecli.checkpoints.safetensors.reader import SafetensorsReader
from tiecli.checkpoints.staging import Stage
from tiecli.checkpoints.targets import refuse_link
from tiecli.checkpoints.trees import Entry, carry_file, finish_directories, list_tree
from tiecli.errors import SourceChangedError


class Publishing:
    """One way each to publish a draft: as a new file or directory, or in the source's place.

    Attributes:
        reader: The source.
        target: Where the new checkpoint goes.
        draft: What it is to hold.
        progress: Told of every piece written.
        notices: What the person at the terminal should know.
    """

    def __init__(self, reader: SafetensorsReader, target: Target, draft: Draft, progress: Progress) -> None:
        self.reader = reader
        self.target = target
        self.draft = draft
        self.progress = progress
        self.notices: list[str] = list(draft.notices)

    def publish(self) -> list[WrittenFile]:
        """Publishes, or leaves nothing behind.

        Raises:
            SourceChangedError: The source changed meanwhile.
            TargetError: The target cannot be written; the class says why.
            OSError: The system refused.
        """
        if not self.target.in_place:
            return self._publish_directory() if self.reader.root.is_dir() else self._publish_file()
        if len(self.draft.layouts) + len(self.draft.texts) <= 1:
            return self._replace_file()
        return self._exchange_directory()

    def _publish_file(self) -> list[WrittenFile]:
        (file,) = self.reader.stored
        stage = Stage(self.target.path, directory=False)
        try:
            layout = self.draft.layouts.get(file.name) or self._whole(file.name)
            fill_file(stage.descriptor, stage.path, layout, file.status, self.target.sync, self.progress)
            self.reader.check_unchanged()
            stage.publish(sync=self.target.sync)
        finally:
            stage.discard()
        return [WrittenFile(self.target.path.name, layout.nbytes, "written")]

    def _whole(self, name: str) -> FileLayout:
        """The layout of a file that stays as it is."""
        file = next(file for file in self.reader.stored if file.name == name)
        header = file.header
        run = (Run(file.descriptor, header.data_start, header.data_size),) if header.data_size else ()
        return FileLayout(header.raw, run, len(header.specs))

    def _replace_file(self) -> list[WrittenFile]:
        """Replaces the one file that changes."""
        names = [*self.draft.layouts, *self.draft.texts]
        if not names:
            self.notices.append("nothing changed, so nothing was written")
            return []
        path = self._path_of(names[0])
        refuse_link(path)
        status = path.stat()
        if status.st_nlink > 1:
            self.notices.append(f"`{names[0]}` has other hard links: they keep the old contents, and so the space")
        stage = Stage(path, directory=False)
        try:
            self._write_changed(names[0], stage.descriptor, stage.path, status)
            self._check_source()
            stage.replace(sync=self.target.sync)
        finally:
            stage.discard()
        return [WrittenFile(names[0], path.stat().st_size, "written")]

    def _path_of(self, name: str) -> Path:
        return next((file.path for file in self.reader.stored if file.name == name), self._directory / name)

    @property
    def _directory(self) -> Path:
        return self.reader.location.directory

    def _write_changed(self, name: str, descriptor: int, path: Path, status: os.stat_result) -> None:
        sync = self.target.sync
        if name in self.draft.layouts:
            fill_file(descriptor, path, self.draft.layouts[name], status, sync, self.progress)
        else:
            fill_text(descriptor, path, self.draft.texts[name], status, sync)

    def _publish_directory(self) -> list[WrittenFile]:
        root = self.reader.root
        entries, odd = list_tree(root)
        entries = self._leave_out(entries, odd)
        stage = Stage(self.target.path, directory=True)
        try:
            files = [file for entry in entries if (file := self._bring(entry, stage.path)) is not None]
            finish_directories(root, stage.path, entries, sync=self.target.sync)
            self._check_source()
            stage.publish(sync=self.target.sync)
        finally:
            stage.discard()
        return files

    def _leave_out(self, entries: tuple[Entry, ...], odd: tuple[str, ...]) -> tuple[Entry, ...]:
        """Leaves out what does not belong to a checkpoint, and says so."""
        if odd:
            self.notices.append(f"left out, being neither files nor directories: {', '.join(odd)}")
        inner = tuple(entry for entry in entries if entry.name != ".git" and not entry.name.startswith(".git/"))
        if len(inner) < len(entries):
            self.notices.append("left out: `.git`, whose history is that of the source")
        return inner

    def _bring(self, entry: Entry, stage: Path) -> WrittenFile | None:
        source, target = self.reader.root / entry.name, stage / entry.name
        if entry.kind == "directory":
            target.mkdir(mode=0o700)
            return None
        if entry.kind == "link":
            target.symlink_to(source.readlink())
            self.notices.append(f"`{entry.name}` is taken over as a symbolic link, since it leads to no file")
            return None
        if entry.name not in self.draft.layouts and entry.name not in self.draft.texts:
            return carry_file(source, target, entry.name, self.target.kept_files, self.target.sync, self.progress)
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._write_changed(entry.name, descriptor, target, source.stat())
        finally:
            os.close(descriptor)
        return WrittenFile(entry.name, target.stat().st_size, "written")

    def _exchange_directory(self) -> list[WrittenFile]:
        changed = frozenset([*self.draft.layouts, *self.draft.texts])

        def build(stage: Path, entries: tuple[Entry, ...]) -> list[WrittenFile]:
            """Writes the files that change."""
            brought = (self._bring(entry, stage) for entry in entries if entry.name in changed)
            return [file for file in brought if file is not None]

        return exchange_directory(
            self.reader.root, changed, build, self._check_source, self.notices, sync=self.target.sync
        )

    def _check_source(self) -> None:
        """Checks that nothing changed under us, the names of the files included."""
        self.reader.check_unchanged()
        for file in self.reader.stored:
            if not os.path.samestat(file.path.stat(), file.status):
                raise SourceChangedError(f"`{file.name}` was replaced meanwhile", "Run the command again.")
        index = self.reader.index
        if index is not None and (self._directory / index.name).read_bytes() != index.raw:
            raise SourceChangedError(f"`{index.name}` was changed meanwhile", "Run the command again.")
