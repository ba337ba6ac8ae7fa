"""Elsewhere: optimizer state of tied leaves that lies in another file or item, and how to carry it across."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Target
from tiecli.checkpoints.siblings import find_place, list_pickled, list_siblings
from tiecli.errors import CheckpointError
from tiecli.ties import Tie


def find_state_elsewhere(reader: CheckpointReader, ties: Sequence[Tie]) -> tuple[Path, ...]:
    """Finds where else optimizer state of new aliases lies, which stays as it is."""
    wanted = {tie.alias.keys for tie in ties}
    return tuple(path for path in _list_quietly(list_siblings, reader) if _keeps_state(path, reader, wanted))


def word_state_to_untie(reader: CheckpointReader, ties: Sequence[Tie]) -> Iterator[str]:
    """Words where state lies that goes with leaves that are stored again."""
    wanted = {path.keys for tie in ties for path in tie.canonicals}
    for path in _list_quietly(list_siblings, reader):
        if _keeps_state(path, reader, wanted):
            yield f"`{path}` keeps optimizer state of these leaves, and stays as it is: `tiecli untie` is for it, too"
    yield from word_pickled(reader)


def word_pickled(reader: CheckpointReader) -> Iterator[str]:
    """Words which files may hold optimizer state that nobody can see without running what is in them."""
    for path in _list_quietly(list_pickled, reader):
        yield (
            f"`{path}` is a pickle, which is not read, and stays as it is: what it keeps of these leaves is carried "
            "across in safetensors only, as docs/optimizer-state.md shows"
        )


def _list_quietly(
    list_paths: Callable[[CheckpointReader], tuple[Path, ...]], reader: CheckpointReader
) -> tuple[Path, ...]:
    try:
        return list_paths(reader)
    except CheckpointError:
        # A file can be read in a directory that cannot be listed.
        return ()


def _keeps_state(path: Path, reader: CheckpointReader, wanted: set[tuple[str | int, ...]]) -> bool:
    from tiecli.moments.surveying import survey_state

    try:
        with open_reader(path) as sibling:
            survey = survey_state(sibling, reader.specs())
    except CheckpointError:
        # Whatever it is, it is not what is tied.
        return False
    return survey is not None and any(wanted & tree.held.keys() for tree in survey.report.trees)


def word_elsewhere(
    paths: Sequence[Path], reader: CheckpointReader, target: Target | None, output: Path | None
) -> Iterator[str]:
    """Words where state stays as it is; once the leaves are written, with the command that carries it across.

    Args:
        paths: As `find_state_elsewhere` gives them.
        reader: The checkpoint of the leaves.
        target: Where it was to go.
        output: Where it was written; None where nothing was.
    """
    for path in paths:
        said = f"`{path}` keeps optimizer state of the aliases, and stays as it is"
        if target is None or output is None:
            yield f"{said}: once this is written, tie it as well"
            continue
        state, options = _choose_output(path, reader, target, output)
        words = ["tiecli", "tie", str(state), "--params", str(find_place(reader, output)), *options]
        yield f"{said}: `{shlex.join(words)}` carries it across"


def _choose_output(path: Path, reader: CheckpointReader, target: Target, output: Path) -> tuple[Path, list[str]]:
    """Chooses which copy of the state to tie, and where to."""
    if target.in_place:
        return path, ["--in-place"]
    carried = output / path.relative_to(reader.root) if path.is_relative_to(reader.root) else None
    if carried is not None and carried.exists():
        return carried, ["--in-place"]
    new = output.parent / path.name
    if new.exists():
        new = new.with_name(f"{path.stem}-tied{path.suffix}")
    return path, ["-o", str(new)]
