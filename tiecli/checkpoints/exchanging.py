"""Exchanging: a directory is changed as a whole, by a twin that takes its place in one step."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from tiecli.checkpoints.copying import is_unsupported
from tiecli.checkpoints.protocol import WrittenFile
from tiecli.checkpoints.staging import Stage
from tiecli.checkpoints.targets import ELSEWHERE, refuse_link
from tiecli.checkpoints.trees import Entry, finish_directories, list_tree, relink_tree, remove_twin
from tiecli.errors import InPlaceError, SourceChangedError

Build = Callable[[Path, tuple[Entry, ...]], list[WrittenFile]]
"""Writes what changes into the twin, given where that stands and what the directory holds."""


def exchange_directory(
    root: Path, changed: frozenset[str], build: Build, check: Callable[[], None], notices: list[str], *, sync: bool
) -> list[WrittenFile]:
    """Builds a twin of a directory and swaps the two, so that all files change at once.

    Args:
        root: The directory.
        changed: Names within it of what is not taken over: files that `build` writes or that go.
        build: Writes into the twin.
        check: Checks that the source is still what was read.
        notices: Lines for the person at the terminal are added here.
        sync: Wait until it is on the disk.

    Raises:
        InPlaceError: The directory cannot be replaced.
        SourceChangedError: It changed meanwhile.
        OSError: The system refused.
    """
    root = root.resolve()
    for name in changed:
        refuse_link(root / name)
    entries, odd = list_tree(root)
    if odd:
        raise InPlaceError(f"`{odd[0]}` is neither a file nor a directory and cannot be taken over", ELSEWHERE)
    stands_inside = _stands_in(root)
    stage = Stage(root, directory=True)
    try:
        files = relink_tree(root, stage.path, entries, changed)
        files += build(stage.path, entries)
        finish_directories(root, stage.path, entries, sync=sync)
        check()
        if list_tree(root)[0] != entries:
            raise SourceChangedError(f"files came or went in `{root}` meanwhile", "Run the command again.")
        _swap(stage, sync=sync)
        if not remove_twin(stage.path, entries):
            left = stage.path.rename(stage.target.parent / f"{stage.target.name}.left-by-tiecli")
            notices.append(f"somebody put files into the directory meanwhile: they are in `{left}`")
    finally:
        stage.discard()
    if stands_inside:
        notices.append("your shell still stands in the old directory: `cd .` takes it to the new one")
    return files


def _swap(stage: Stage, *, sync: bool) -> None:
    try:
        stage.exchange(sync=sync)
    except OSError as error:
        if not is_unsupported(error) and error.errno != errno.EBUSY:
            raise
        raise InPlaceError(
            f"`{stage.target}` cannot be swapped with its successor: {(error.strerror or str(error)).lower()}",
            ELSEWHERE,
        ) from error


def _stands_in(directory: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(directory)
    except OSError:
        return False
