"""Drafts: every file that a mended checkpoint gets, decided in full before a byte is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tiecli.checkpoints.mending.changes import Changes
from tiecli.checkpoints.mending.sources import Sources
from tiecli.checkpoints.mending.texts import edit_text
from tiecli.checkpoints.safetensors.layout import FileLayout
from tiecli.errors import FixError, InPlaceError

Contents = FileLayout | bytes

COPY = "Fix a copy of the checkpoint: `cp -rL` makes files of links."


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written in a directory, renamed and removed.

    Attributes:
        directory: The directory; all names are within it.
        written: Files that get new contents, by their names from before.
        added: Files that come.
        moved: New names of files, those written among them.
        removed: Files and directories that go.
    """

    directory: Path
    written: Mapping[str, Contents] = field(default_factory=dict)
    added: Mapping[str, bytes] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    @property
    def touched(self) -> frozenset[str]:
        """The names of all that is there and changes."""
        return frozenset((*self.written, *self.moved, *self.removed))

    def narrow(self) -> Draft:
        """The same, seen from the innermost directory around all that changes."""
        names = (*self.touched, *self.moved.values(), *self.added)
        inner = PurePosixPath(os.path.commonpath([PurePosixPath(name).parent for name in names]))

        def cut(name: str) -> str:
            """Spells a name as seen from there."""
            return str(PurePosixPath(name).relative_to(inner))

        return Draft(
            self.directory / inner,
            {cut(name): contents for name, contents in self.written.items()},
            {cut(name): raw for name, raw in self.added.items()},
            {cut(file): cut(name) for file, name in self.moved.items()},
            frozenset(map(cut, self.removed)),
        )


def draft_paths(sources: Sources, changes: Changes, decided: Mapping[str, Contents] = {}) -> Draft:
    """Decides what becomes of text files and of names.

    Args:
        sources: The directory.
        changes: What is asked for.
        decided: Files that get new contents, as far as they are decided already; the members
            asked for are set in them.

    Raises:
        FixError: Something is not there, or in the way.
        InPlaceError: A symbolic link would have to be replaced.
        UnreadableFileError: The system refuses.
    """
    directory = sources.directory
    written = dict(decided)
    for name, members in changes.members.items():
        if name not in decided:
            _check_there(directory, name)
            raw = sources.read(name)
            text = edit_text(raw, name, members)
            if text != raw:
                written[name] = text
    moved = {file: name for file, name in changes.moved.items() if file != name}
    for name in (*written, *moved, *changes.removed):
        _check_there(directory, name)
    free = {*moved, *changes.removed}
    for name in (*moved.values(), *changes.added):
        _check_free(directory, name, free)
    homes = {(directory / name).parent for name in changes.added}
    for home in (*homes, *((directory / name).parent for name in moved.values())):
        # A new directory may come with a new file beside it.
        if not home.is_dir() and not (home in homes and home.parent in homes and home.parent.is_dir()):
            raise FixError(f"`{home}` is no directory")
    lost = [name for name in (*written, *moved) if not changes.removed.isdisjoint(_prefixes(name))]
    nested = [name for name in changes.removed if not changes.removed.isdisjoint(_prefixes(name)[:-1])]
    if lost or nested:
        raise FixError(f"`{(lost or nested)[0]}` is to change in two ways")
    return Draft(directory, written, dict(changes.added), moved, frozenset(changes.removed))


def _check_there(directory: Path, name: str) -> None:
    """Checks that something is there, inside the directory, and no link."""
    _check_above(directory, name)
    path = directory / name
    if path.is_symlink():
        raise InPlaceError(
            f"`{path}` is a symbolic link, as in the Hugging Face cache: "
            "writing through it would spoil what others share, and replacing it would part it from them",
            COPY,
        )
    if not path.exists():
        raise FixError(f"`{name}` is not there")


def _check_free(directory: Path, name: str, free: Iterable[str]) -> None:
    """Checks that nothing has the name of a new file."""
    _check_above(directory, name)
    path = directory / name
    if (path.exists() or path.is_symlink()) and name not in free:
        raise FixError(f"`{name}` is there already")


def _check_above(directory: Path, name: str) -> None:
    for above in _prefixes(name)[:-1]:
        if (directory / above).is_symlink():
            raise FixError(f"`{name}` lies behind a symbolic link, `{above}`, which may lead out of the checkpoint")


def _prefixes(name: str) -> list[str]:
    parts = PurePosixPath(name).parts
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
