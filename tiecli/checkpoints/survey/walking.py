"""Walking: which checkpoints some paths stand for: files, directories with many below them, globs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.lookalikes import name_lookalike
from tiecli.checkpoints.orbax.directories import DATABASE, MARKER, STEP, TEMPORARY, TREE
from tiecli.checkpoints.orbax.location import find_whole, is_orbax
from tiecli.checkpoints.pathglobs import MAGIC, compile_glob
from tiecli.checkpoints.safetensors.huggingface import BESIDE
from tiecli.checkpoints.safetensors.shardindex import SUFFIX
from tiecli.checkpoints.storedfile import unreadable
from tiecli.checkpoints.survey.units import WEIGHTS, Unit, find_unit, list_units
from tiecli.errors import CheckpointError, CheckpointNotFoundError

_MARKS = frozenset({TREE, STEP, MARKER, DATABASE})
# A group of zarr arrays that is no item of Orbax, which writes no such file.
_GROUPS = frozenset({".zgroup", ".zmetadata", "zarr.json"})
_TEXTS = ("config.json", "tokenizer.json")


class Problem(NamedTuple):
    """A path that no checkpoint was found for.

    Attributes:
        path: As it was given, or met on the way.
        error: Why.
    """

    path: str
    error: CheckpointError


class Found(NamedTuple):
    """The checkpoints that some paths stand for, each once, in the order of their roots; and what went wrong."""

    units: tuple[Unit, ...]
    problems: tuple[Problem, ...]


class _Directory(NamedTuple):
    """What a directory holds: links count as what they lead to."""

    files: frozenset[str]
    directories: tuple[str, ...]
    links: frozenset[str]
    identity: tuple[int, int] | None


def find_units(path: Path) -> tuple[Unit, ...]:
    """Finds the checkpoints that a path stands for.

    A file stands for the checkpoint that it is part of; a directory for every checkpoint in
    it and below it, hidden directories left out.

    Raises:
        CheckpointNotFoundError: There is none.
        UnreadableFileError: The system refuses.
    """
    found = find_all([str(path)])
    if found.problems:
        raise found.problems[0].error
    return found.units


def find_all(paths: Iterable[str]) -> Found:
    """Finds the checkpoints that paths stand for; globs are expanded where nothing has that very name.

    A checkpoint that several paths lead to is listed once; so is one that links of another
    directory lead to, file by file, as in the cache of the Hugging Face hub.
    """
    search = _Search()
    for path in paths:
        search.add(path)
    return search.finish()


class _Search:
    """One search; directories that several paths lead through are listed once."""

    def __init__(self) -> None:
        self._listings: dict[str, _Directory] = {}
        self._units: dict[tuple[object, ...], Unit] = {}
        self._problems: list[Problem] = []

    def add(self, given: str) -> None:
        """Adds the checkpoints that a path or a glob stands for."""
        try:
            before = len(self._problems)
            units = list(self._find(given))
            if not units and len(self._problems) == before:
                raise CheckpointNotFoundError(
                    f"`{given}` holds no checkpoint",
                    "Give a safetensors file, a directory that holds one, or an Orbax checkpoint.",
                )
        except CheckpointError as error:
            self._problems.append(Problem(given, error))
            return
        for unit in units:
            self._units.setdefault(self._identify(unit), unit)

    def finish(self) -> Found:
        """Gives what was found, without what lies inside of an Orbax checkpoint that was found, too."""
        whole = {unit.root.absolute() for unit in self._units.values() if unit.format == "orbax"}
        units = [unit for unit in self._units.values() if not whole or whole.isdisjoint(unit.root.absolute().parents)]
        return Found(tuple(sorted(units, key=lambda unit: str(unit.root))), tuple(self._problems))

    def _find(self, given: str) -> Iterator[Unit]:
        path = Path(given)
        try:
            there = path.exists()
        except (OSError, ValueError) as error:
            raise unreadable(given, error if isinstance(error, OSError) else OSError(22, str(error))) from error
        if there:
            yield from self._find_below(path) if path.is_dir() else self._find_around(path)
        elif MAGIC.search(given):
            for match in self._expand(given):
                yield from self._find_below(match) if match.is_dir() else self._find_around(match, sure=False)
        else:
            raise CheckpointNotFoundError(
                f"`{given}`: no such file or directory", "Check the path; `ls` its directory."
            )

    def _find_around(self, file: Path, *, sure: bool = True) -> Iterator[Unit]:
        """Finds the checkpoint that a file is part of; for a text beside weights, all in its directory.

        Args:
            file: The file.
            sure: Whether somebody named it, so that it has to be a part of one.
        """
        whole = find_whole(file) if is_orbax(file) else None
        if whole is not None:
            yield Unit(whole, "orbax", whole)
            return
        names = self._list(file.parent, lenient=True).files
        if file.name.endswith((WEIGHTS, SUFFIX)):
            yield find_unit(file, names)
        elif file.suffix.lower() in BESIDE:
            units = list_units(file.parent, names)
            if not units and sure:
                raise CheckpointNotFoundError(
                    f"`{file}` is no checkpoint, and none is beside it", "Give the file that holds the weights."
                )
            yield from units
        elif sure:
            _refuse_lookalike(file)
            yield find_unit(file, names)

    def _find_below(self, top: Path) -> Iterator[Unit]:
        """Finds every checkpoint in a directory and below it; not inside of Orbax checkpoints."""
        if is_orbax(top):
            yield Unit(top, "orbax", top)
            return
        seen: set[tuple[int, int] | None] = set()
        waiting = [top]
        while waiting:
            directory = waiting.pop()
            try:
                held = self._list(directory)
            except CheckpointError as error:
                if directory == top:
                    raise
                self._problems.append(Problem(str(directory), error))
                continue
            # A link may lead back to where it stands.
            if held.identity in seen:
                continue
            seen.add(held.identity)
            if directory != top and self._is_orbax_below(directory, held):
                yield Unit(directory, "orbax", directory)
                continue
            yield from list_units(directory, held.files)
            waiting += [directory / name for name in reversed(held.directories) if not name.startswith(".")]

    def _is_orbax_below(self, directory: Path, held: _Directory) -> bool:
        """Whether a directory that was met is an Orbax checkpoint; those that nobody named need some sign of it."""
        if not held.files.isdisjoint(_MARKS) or TEMPORARY in directory.name:
            return True
        if not held.directories or any(name.endswith((WEIGHTS, SUFFIX)) for name in held.files):
            return False
        return held.files.isdisjoint(_GROUPS) and not self._is_bare(directory, held) and is_orbax(directory)

    def _is_bare(self, directory: Path, held: _Directory) -> bool:
        """Whether a directory and those in it hold no file, as a tree of dates may that waits for some."""
        return not held.files and not any(self._list(directory / name, lenient=True).files for name in held.directories)

    def _expand(self, pattern: str) -> Iterator[Path]:
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
            held = self._list(Path(base, inside), lenient=True)
            if held.identity in seen:
                continue
            seen.add(held.identity)
            for name in sorted(held.files):
                if not name.startswith(".") and expression.fullmatch(inside + name):
                    yield Path(base, inside + name)
            for name in held.directories:
                if name.startswith("."):
                    continue
                if expression.fullmatch(inside + name):
                    yield Path(base, inside + name)
                elif depth is None or inside.count("/") + 1 < depth:
                    waiting.append(f"{inside}{name}/")

    def _list(self, directory: Path, *, lenient: bool = False) -> _Directory:
        """Lists a directory, once.

        Args:
            directory: Which.
            lenient: Whether one that may not be listed counts as empty: a file in it may be readable all the same.

        Raises:
            UnreadableFileError: The system refuses.
        """
        key = str(directory)
        if key not in self._listings:
            try:
                self._listings[key] = _list_directory(directory)
            except OSError as error:
                if lenient:
                    return _Directory(frozenset(), (), frozenset(), None)
                raise unreadable(key, error) from error
        return self._listings[key]

    def _identify(self, unit: Unit) -> tuple[object, ...]:
        """Gives what a checkpoint shares only with itself, whatever path or link leads to it."""
        held = self._list(unit.directory, lenient=True)
        names = (*unit.files, *((unit.index_name,) if unit.index_name else ()))
        if held.links.isdisjoint(names):
            return (held.identity or str(unit.directory), unit.format, names)
        shards = [name for name in sorted(held.files) if name.endswith(WEIGHTS)] if unit.index_name else []
        return tuple(_identify_file(unit.directory / name) for name in (*names, *shards, *_TEXTS))


def _list_directory(directory: Path) -> _Directory:
    files: list[str] = []
    directories: list[str] = []
    links: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            (directories if is_directory(entry) else files).append(entry.name)
            if entry.is_symlink():
                links.append(entry.name)
    status = directory.stat()
    return _Directory(frozenset(files), tuple(sorted(directories)), frozenset(links), (status.st_dev, status.st_ino))


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a directory, or a link to one; a link that leads nowhere is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identify_file(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None if not path.is_symlink() else str(path)
    return status.st_dev, status.st_ino


def _refuse_lookalike(file: Path) -> None:
    """Refuses a file that does not claim to be safetensors and is of another known format.

    Raises:
        CheckpointNotFoundError: It is.
        UnreadableFileError: The system refuses to read it.
    """
    try:
        with file.open("rb") as opened:
            found = name_lookalike(opened.read(512))
    except OSError as error:
        raise unreadable(str(file), error) from error
    if found:
        raise CheckpointNotFoundError(f"`{file}` is {found[0]}, expected safetensors", found[1])
