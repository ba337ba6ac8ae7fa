"""Targets: refuses, before anything is read for it, a target that cannot be meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tiecli.checkpoints.protocol import Target
from tiecli.checkpoints.staging import refuse_existing, writing
from tiecli.errors import InPlaceError, TargetIsSourceError

ELSEWHERE = "Write a new checkpoint with `-o` instead."


def check_target(target: Target, source: Path, files: Iterable[Path] = ()) -> None:
    """Refuses a target that is not what `in_place` says, or that the source would suffer from.

    Args:
        target: Where the new checkpoint is to go.
        source: The file or directory that is the source.
        files: Files of the source that may lie elsewhere.

    Raises:
        TargetExistsError: Something is there.
        TargetIsSourceError: It is the source, or inside it.
        InPlaceError: The source cannot be replaced where it is.
        WriteFailedError: The system refuses to look.
    """
    with writing(target.path):
        path = target.path
        if target.in_place:
            if not path.exists() or not any(at.samefile(source) for at in (path, *path.absolute().parents)):
                raise InPlaceError(f"`{path}` is not the source, `{source}`", "Use `-o` for another target.")
            if not source.is_dir():
                refuse_link(source)
            return
        if path.exists() and any(path.samefile(at) for at in (source, *files)):
            raise TargetIsSourceError(
                f"the target `{path}` is the source itself", "Use --in-place to rewrite it, or name another target."
            )
        if source.is_dir() and source.resolve() in path.absolute().parent.resolve().joinpath(path.name).parents:
            raise TargetIsSourceError(
                f"the target `{path}` lies inside the source `{source}`", "Name one outside of it."
            )
        refuse_existing(path)


def refuse_link(path: Path) -> None:
    """Refuses to replace a symbolic link.

    Raises:
        InPlaceError: It is one.
    """
    if path.is_symlink():
        raise InPlaceError(
            f"`{path}` is a symbolic link, as in the Hugging Face cache: "
            "replacing it would save no space, and writing through it would spoil what others share",
            ELSEWHERE,
        )
