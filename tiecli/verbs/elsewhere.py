"""Elsewhere: optimizer state of tied leaves that lies in another file or item, and how to carry it across."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Target
from tiecli.checkpoints.siblings import find_place, list_siblings
from tiecli.errors import CheckpointError
from tiecli.ties import Tie


def find_state_elsewhere(reader: CheckpointReader, ties: Sequence[Tie]) -> tuple[Path, ...]:
    """Finds where else optimizer state of new aliases lies, which stays as it is."""
    wanted = {tie.alias.keys for tie in ties}
    try:
        siblings = list_siblings(reader)
    except CheckpointError:
        # A file can be read in a directory that cannot be listed.
        return ()
    return tuple(path for path in siblings if _keeps_state(path, reader, wanted))


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
