"""Sources: the files that a draft is made from, held open and watched until it is in their place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tiecli.checkpoints.storedfile import changed, open_regular, read_text_file, reading
from tiecli.checkpoints.survey.files import FileSurvey
from tiecli.errors import FixError


@dataclass
class Sources:
    """The files of one directory.

    Attributes:
        directory: Where they lie.
    """

    directory: Path
    _opened: dict[str, tuple[int, os.stat_result]] = field(default_factory=dict)
    _texts: dict[str, bytes] = field(default_factory=dict)

    def open(self, file: FileSurvey) -> int:
        """Gives a descriptor of a file, to be read until the sources are closed.

        Raises:
            SourceChangedError: It is not of the size that was surveyed.
            UnreadableFileError: The system refuses.
        """
        if file.name not in self._opened:
            self._opened[file.name] = open_regular(self.directory / file.name, file.name)
        descriptor, status = self._opened[file.name]
        if status.st_size != file.size:
            raise changed(file.name, f"it had {file.size:,} bytes and has {status.st_size:,}")
        return descriptor

    def read(self, name: str) -> bytes:
        """Reads a text file.

        Raises:
            FixError: There is none.
            UnreadableFileError: The system refuses, or it is absurdly large.
        """
        if name not in self._texts:
            raw = read_text_file(self.directory / name, name)
            if raw is None:
                raise FixError(f"`{name}` is not there")
            self._texts[name] = raw
        return self._texts[name]

    def check_unchanged(self) -> None:
        """Checks that all that was opened or read is still there, and the same.

        Raises:
            SourceChangedError: Something is not.
            UnreadableFileError: The system refuses to look.
        """
        for name, (_, before) in self._opened.items():
            with reading(name):
                now = (self.directory / name).stat()
            if not os.path.samestat(now, before):
                raise changed(name, "it was replaced")
            if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise changed(name, "it was modified")
        for name, raw in self._texts.items():
            if read_text_file(self.directory / name, name) != raw:
                raise changed(name, "it was modified")

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Closes what was opened."""
        while self._opened:
            os.close(self._opened.popitem()[1][0])
