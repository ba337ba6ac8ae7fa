"""Trees: carrying the files of a directory over that are not rewritten."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tiecli.checkpoints import system
from tiecli.checkpoints.copying import Output, is_unsupported, reserve
from tiecli.checkpoints.protocol import KeptFiles, Progress, WrittenFile
from tiecli.checkpoints.staging import is_stage, sync_directory
from tiecli.checkpoints.storedfile import open_regular
from tiecli.errors import InPlaceError, SourceChangedError, WriteFailedError

Kind = Literal["directory", "file", "link"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a directory that is carried over.

    Attributes:
        name: Its path within the directory.
        kind: `link` is a symbolic link that is kept as it is, since it leads to a
            directory or nowhere; one that leads to a file counts as that file.
        mode: Its permissions.
        is_link: Whether it is a symbolic link, be it to a file.
    """

    name: str
    kind: Kind
    mode: int
    is_link: bool

    def placed_below(self, directory: str) -> Entry:
        """The same, named from a directory further up."""
        return replace(self, name=f"{directory}/{self.name}")


def list_tree(root: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Lists everything below a directory, directories before what is in them.

    Returns:
        What can be carried over, and the names of what cannot: pipes, sockets, devices.
    """
    entries: list[Entry] = []
    odd: list[str] = []
    for directory, subdirectories, files in os.walk(root, onerror=_raise):
        subdirectories.sort()
        for name in sorted([*subdirectories, *files]):
            path = Path(directory, name)
            if is_stage(name):
                continue
            inner = str(path.relative_to(root))
            status = path.lstat()
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link:
                with contextlib.suppress(OSError):
                    status = path.stat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISREG(status.st_mode):
                entries.append(Entry(inner, "file", mode, is_link))
            elif is_link:
                entries.append(Entry(inner, "link", mode, is_link))
            elif stat.S_ISDIR(status.st_mode):
                entries.append(Entry(inner, "directory", mode, is_link))
            else:
                odd.append(inner)
        subdirectories[:] = [name for name in subdirectories if not is_stage(name)]
    return tuple(entries), tuple(odd)


def _raise(error: OSError) -> None:
    raise error


def set_mode(path: Path, mode: int) -> None:
    """Sets permissions, where the file system has any."""
    with contextlib.suppress(PermissionError):
        path.chmod(mode)


def finish_directories(root: Path, stage: Path, entries: tuple[Entry, ...], *, sync: bool) -> None:
    """Gives the directories of a stage the permissions of the source's, innermost first."""
    directories = [entry for entry in entries if entry.kind == "directory" and (stage / entry.name).is_dir()]
    for entry in reversed(directories):
        set_mode(stage / entry.name, entry.mode)
    for path in [*(stage / entry.name for entry in directories), stage] if sync else ():
        sync_directory(path)
    set_mode(stage, stat.S_IMODE(root.stat().st_mode))


def carry_file(source: Path, target: Path, name: str, how: KeptFiles, sync: bool, progress: Progress) -> WrittenFile:
    """Brings one file over, links followed, permissions kept.

    Raises:
        WriteFailedError: `reflink` or `hardlink` was asked for and cannot be had here.
        SourceChangedError: The file changed meanwhile.
        UnreadableFileError: It cannot be read.
        OSError: The system refused to write.
    """
    if how == "hardlink":
        return _link_file(source, target, name)
    descriptor, before = open_regular(source, name)
    try:
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            done = _clone(descriptor, copy, name, must=how == "reflink")
            if done:
                progress(before.st_size)
            else:
                reserve(copy, before.st_size)
                Output(copy, sync, progress).copy(descriptor, 0, before.st_size)
            set_mode(target, stat.S_IMODE(before.st_mode))
            if sync:
                os.fsync(copy)
        finally:
            os.close(copy)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SourceChangedError(
            f"`{name}` changed while it was read", "Wait until whatever writes it is done, then run the command again."
        )
    return WrittenFile(name, before.st_size, "reflinked" if done else "copied")


def _clone(source: int, target: int, name: str, *, must: bool) -> bool:
    try:
        system.clone_file(source, target)
    except OSError as error:
        if not is_unsupported(error):
            raise
        if must:
            raise WriteFailedError(
                f"`{name}` cannot be reflinked: the file system of the target does not share blocks with the source's",
                "Use `copy`, or `hardlink` where both lie on one file system.",
            ) from error
        return False
    return True


def _link_file(source: Path, target: Path, name: str) -> WrittenFile:
    # A link to a link would lead out of the new directory.
    real = source.resolve(strict=True)
    try:
        os.link(real, target)
    except OSError as error:
        if not is_unsupported(error):
            raise
        raise WriteFailedError(
            f"`{name}` cannot be hard-linked: {(error.strerror or str(error)).lower()}",
            "Leave out --link, or give --kept-files copy: copies can be had anywhere.",
        ) from error
    return WrittenFile(name, target.stat().st_size, "linked")


def relink_tree(root: Path, stage: Path, entries: tuple[Entry, ...], changed: frozenset[str]) -> list[WrittenFile]:
    """Builds a twin of a directory whose files are the very same ones, but for the changed.

    Raises:
        InPlaceError: A file cannot be linked.
    """
    kept: list[WrittenFile] = []
    for entry in entries:
        source, target = root / entry.name, stage / entry.name
        if entry.name in changed:
            continue
        if entry.kind == "directory":
            target.mkdir(mode=0o700)
            continue
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            raise InPlaceError(
                f"`{entry.name}` cannot be taken over into the new directory: {(error.strerror or str(error)).lower()}",
                "Write a new checkpoint with `-o` instead.",
            ) from error
        if entry.kind == "file":
            kept.append(WrittenFile(entry.name, source.stat().st_size, "kept"))
    return kept


def remove_twin(old: Path, entries: tuple[Entry, ...]) -> bool:
    """Removes what is left of a directory after its twin took its place.

    Only what was there when the twin was built is removed: a file that came since is kept.

    Returns:
        Whether all of it is gone.
    """
    with contextlib.suppress(OSError):
        for entry in entries:
            if entry.kind == "directory":
                set_mode(old / entry.name, 0o700)
        set_mode(old, 0o700)
        for entry in reversed(entries):
            path = old / entry.name
            if entry.kind == "directory":
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        old.rmdir()
        return True
    return False
