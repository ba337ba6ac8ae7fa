"""Walking: which checkpoints some paths stand for: files, directories with many below them, globs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tiecli.checkpoints.lookalikes import name_lookalike
from tiecli.checkpoints.orbax.directories import (
    DATABASE,
    MARKER,
    STEP,
    TEMPORARY,
    TREE,
    find_step_number,
)
from tiecli.checkpoints.orbax.location import find_whole, is_orbax
from tiecli.checkpoints.pathglobs import MAGIC
from tiecli.checkpoints.safetensors.huggingface import BESIDE
from tiecli.checkpoints.safetensors.shardindex import SUFFIX
from tiecli.checkpoints.storedfile import unreadable
from tiecli.checkpoints.survey.listings import HeldDirectory, Listings
from tiecli.checkpoints.survey.units import WEIGHTS, Unit, is_indexed, list_units
from tiecli.errors import CheckpointError, CheckpointNotFoundError

_MARKS = frozenset({TREE, STEP, MARKER, DATABASE})
# Directories that only items of Orbax have.
_REMAINS = ("ocdbt.process_", "array_metadatas")
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


def find_units(path: Path) -> tuple[Unit, ...]:
    """Finds the checkpoints that a path stands for.

    A file stands for the checkpoint that it is part of; a directory for every checkpoint in
    it and below it, hidden directories left out.

    Raises:
        CheckpointNotFoundError: There is none, or not all could be looked at.
    """
    found = find_all([str(path)])
    if found.problems:
        raise CheckpointNotFoundError(f"`{found.problems[0].path}`: {found.problems[0].error.message}")
    return found.units


def find_all(paths: Iterable[str], *, strict: bool = True) -> Found:
    """Finds the checkpoints that paths stand for; globs are expanded where nothing has that very name.

    A checkpoint that several paths lead to is listed once; so is one that links of another
    directory lead to, file by file, as in the cache of the Hugging Face hub.

    Args:
        paths: The paths and globs.
        strict: Whether a file that is part of no checkpoint is a problem.
    """
    search = _Search(strict=strict)
    for path in paths:
        search.add(path)
    return search.finish()


class _Search:
    """One search; directories that several paths lead through are listed once."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._listings = Listings()
        self._look = self._listings.look
        self._grouped: dict[Path, tuple[Unit, ...]] = {}
        self._homes: dict[Path, dict[str, Unit]] = {}
        self._units: dict[tuple[object, ...], Unit] = {}
        self._problems: list[Problem] = []

    def add(self, given: str) -> None:
        """Adds the checkpoints that a path or a glob stands for."""
        try:
            before = len(self._problems)
            units = list(self._find(given))
            if not units and is_orbax(Path(given)):
                # An empty tree of numbers, say, of which somebody has told that it is one.
                units = [Unit(Path(given), "orbax", Path(given))]
            if not units and len(self._problems) == before and (self._strict or not Path(given).is_file()):
                raise CheckpointNotFoundError(
                    "no checkpoint is there",
                    "Give a safetensors file, a directory that holds one, or an Orbax checkpoint.",
                )
        except CheckpointError as error:
            self._problems.append(Problem(given, error))
            return
        for unit in units:
            self._units.setdefault(self._identify(unit), unit)

    def finish(self) -> Found:
        """Gives what was found, without parts of an Orbax checkpoint that was found whole."""
        whole = {unit.root.absolute() for unit in self._units.values() if unit.format == "orbax"}
        units = [
            unit
            for unit in self._units.values()
            if unit.format != "orbax" or whole.isdisjoint(unit.root.absolute().parents)
        ]
        return Found(tuple(sorted(units, key=lambda unit: str(unit.root))), tuple(self._problems))

    def _find(self, given: str) -> Iterator[Unit]:
        path = Path(given)
        try:
            there = bool(given) and path.exists()
        except (OSError, ValueError) as error:
            raise unreadable(given, error if isinstance(error, OSError) else OSError(22, str(error))) from error
        if there:
            yield from self._find_below(path) if path.is_dir() else self._find_around(path, sure=self._strict)
        elif MAGIC.search(given):
            for match in self._listings.expand(given):
                yield from self._find_below(match) if match.is_dir() else self._find_around(match, sure=False)
        else:
            raise CheckpointNotFoundError("no such file or directory", "Check the path; `ls` its directory.")

    def _find_around(self, file: Path, *, sure: bool) -> Iterator[Unit]:
        """Finds the checkpoint that a file is part of; for a text beside weights, all in its directory.

        Args:
            file: The file.
            sure: Whether somebody named it, so that it has to be a part of one.
        """
        whole = find_whole(file) if is_orbax(file) else None
        if whole is not None:
            yield Unit(whole, "orbax", whole)
            return
        if file.name.endswith((WEIGHTS, SUFFIX)):
            yield self._find_unit(file)
        elif file.suffix.lower() in BESIDE:
            units = self._group(file.parent)
            if not units and sure:
                raise CheckpointNotFoundError(
                    "this is no checkpoint, and none is beside it", "Give the file that holds the weights."
                )
            yield from units
        elif sure:
            _refuse_lookalike(file)
            yield self._find_unit(file)

    def _find_unit(self, file: Path) -> Unit:
        """Finds the checkpoint that a safetensors file or an index belongs to; itself, if it belongs to none."""
        units = self._group(file.parent)
        if file.parent not in self._homes:
            homes = {name: unit for unit in units for name in (*unit.files, unit.index_name or "")}
            self._homes[file.parent] = homes
        if file.name in self._homes[file.parent]:
            return self._homes[file.parent][file.name]
        for unit in units:
            if unit.index_name is not None and is_indexed(unit.directory / unit.index_name, file.name):
                return unit
        return Unit(file, "safetensors", file.parent, (file.name,))

    def _group(self, directory: Path) -> tuple[Unit, ...]:
        """Lists the safetensors checkpoints of a directory, once."""
        if directory not in self._grouped:
            self._grouped[directory] = list_units(directory, self._look(directory, lenient=True).files)
        return self._grouped[directory]

    def _find_below(self, top: Path) -> Iterator[Unit]:
        """Finds every checkpoint in a directory and below it."""
        seen: set[tuple[int, int] | None] = set()
        waiting = [top]
        while waiting:
            directory = waiting.pop()
            try:
                held = self._look(directory)
            except CheckpointError as error:
                if directory == top:
                    raise
                self._problems.append(Problem(str(directory), error))
                continue
            # A link may lead back to where it stands.
            if held.identity in seen:
                continue
            seen.add(held.identity)
            inside = sorted((name for name in held.directories if not name.startswith(".")), reverse=True)
            if self._is_orbax(directory, held):
                yield Unit(directory, "orbax", directory)
                # Between its steps, a root may hold other things; what has a mark of its own is whole.
                inside = [it for it in inside if not _is_of_root(it)] if held.files.isdisjoint(_MARKS) else []
            else:
                yield from self._group(directory)
            waiting += [directory / name for name in inside]

    def _is_orbax(self, directory: Path, held: HeldDirectory) -> bool:
        """Whether a directory is one Orbax checkpoint: an item, a step, or a root of steps.

        One that has no mark of its own needs a name that tells, or remains of an item: others
        may hold items among other things, and arrays of zarr that are no item.
        """
        if not held.files.isdisjoint(_MARKS) or TEMPORARY in directory.name:
            return True
        if any(name.endswith((WEIGHTS, SUFFIX)) for name in held.files) or not held.directories:
            return False
        if any(name.startswith(_REMAINS) for name in held.directories):
            return True
        numbered = find_step_number(directory.absolute().name) is not None or any(map(_is_of_root, held.directories))
        return numbered and not self._is_bare(directory, held) and is_orbax(directory)

    def _is_bare(self, directory: Path, held: HeldDirectory) -> bool:
        """Whether a directory and those in it hold no file, as a tree of dates may that waits for some."""
        return not held.files and not any(self._look(directory / name, lenient=True).files for name in held.directories)

    def _identify(self, unit: Unit) -> tuple[object, ...]:
        """Gives what a checkpoint shares only with itself, whatever path or link leads to it."""
        held = self._look(unit.directory, lenient=True)
        names = (*unit.files, *((unit.index_name,) if unit.index_name else ()))
        if held.links.isdisjoint(names):
            return (held.identity or str(unit.directory), unit.format, names)
        shards = [name for name in sorted(held.files) if name.endswith(WEIGHTS)] if unit.index_name else []
        return tuple(_identify_file(unit.directory / name) for name in (*names, *shards, *_TEXTS))


def _is_of_root(name: str) -> bool:
    """Whether a directory's name is that of a step, or of a save that never ended."""
    return find_step_number(name) is not None or TEMPORARY in name


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
        raise CheckpointNotFoundError(f"this is {found[0]}, expected safetensors", found[1])
