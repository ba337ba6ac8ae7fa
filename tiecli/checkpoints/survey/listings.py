"""Listings: what directories hold, each listed once in a search, and what globs match in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.pathglobs import MAGIC, compile_glob
from tiecli.checkpoints.storedfile import unreadable


class HeldDirectory(NamedTuple):
    """What a directory holds; links count as what they lead to.

    Attributes:
        files: Names of everything that is no directory.
        directories: Names of its directories.
        links: Which of all these are links.
        identity: What tells it from others, whatever the path to it; None if it may not be listed.
    """

    files: frozenset[str]
    directories: frozenset[str]
    links: frozenset[str]
    identity: tuple[int, int] | None


class Listings:
    """The directories that a search came through."""

    def __init__(self) -> None:
        self._held: dict[str, HeldDirectory] = {}

    def look(self, directory: Path, *, lenient: bool = False) -> HeldDirectory:
        """Lists a directory, once.

        Args:
            directory: Which.
            lenient: Whether one that may not be listed counts as empty: a file in it may be readable all the same.

        Raises:
            UnreadableFileError: The system refuses.
        """
        key = str(directory)
        if key not in self._held:
            try:
                self._held[key] = _list_directory(directory)
            except OSError as error:
                if lenient:
                    return HeldDirectory(frozenset(), frozenset(), frozenset(), None)
                raise unreadable(key, error) from error
        return self._held[key]

    def expand(self, pattern: str) -> Iterator[Path]:
        """Lists what a glob matches, hidden names left out; nothing inside of what it matches."""
        parts = pattern.split("/")
        literal = next(place for place, part in enumerate(parts) if MAGIC.search(part))
        base = "/".join(parts[:literal]) or ("/" if pattern.startswith("/") else ".")
        if "/".join(parts[literal:]).strip("/") == "**":
            yield from [Path(base)] * Path(base).is_dir()
            return
        expression = compile_glob("/".join(parts[literal:]))
        depth = None if "**" in parts else len([part for part in parts[literal:] if part])
        seen: set[tuple[int, int] | None] = set()
        waiting = [""] if Path(base).is_dir() else []
        while waiting:
            inside = waiting.pop()
            held = self.look(Path(base, inside), lenient=True)
            if held.identity in seen:
                continue
            seen.add(held.identity)
            for name in sorted(held.files):
                if not name.startswith(".") and expression.fullmatch(inside + name):
                    yield Path(base, inside + name)
            for name in sorted(held.directories):
                if name.startswith("."):
                    continue
                if expression.fullmatch(inside + name):
                    yield Path(base, inside + name)
                elif depth is None or inside.count("/") + 1 < depth:
                    waiting.append(f"{inside}{name}/")


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory, or a link to one; a link that leads nowhere is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _list_directory(directory: Path) -> HeldDirectory:
    files: list[str] = []
    directories: list[str] = []
    links: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            (directories if is_directory(entry) else files).append(entry.name)
            if entry.is_symlink():
                links.append(entry.name)
    status = directory.stat()
    return HeldDirectory(frozenset(files), frozenset(directories), frozenset(links), (status.st_dev, status.st_ino))
