"""Options: those that several commands share, worded once."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tiecli.checkpoints.protocol import Target
from tiecli.errors import PlanFileError, TargetExistsError, UsageError, WriteFailedError

Checkpoint = Annotated[
    Path,
    typer.Argument(
        metavar="CKPT", help="A .safetensors file, a Hugging Face directory, or an Orbax checkpoint, step or item."
    ),
]
Step = Annotated[
    int | None, typer.Option("--step", metavar="N", min=0, help="Orbax: which step; without it, the latest.")
]
Item = Annotated[
    str | None, typer.Option("--item", metavar="NAME", help="Orbax: which item of the step, if it has several.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT", help="Write the new checkpoint here; must not exist.")
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the checkpoint, all at once.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and prove everything, write nothing.")]
NoSync = Annotated[
    bool, typer.Option("--no-sync", help="Do not wait for the disk; a power cut may then lose the output.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; errors too.")]


class KeptFiles(StrEnum):
    """What becomes of files that need no rewriting."""

    COPY = "copy"
    REFLINK = "reflink"
    HARDLINK = "hardlink"


KeptFilesOption = Annotated[
    KeptFiles | None,
    typer.Option(
        "--kept-files",
        show_default="copy",
        help="Shards and other files that stay as they are: copy them (sharing blocks where the "
        "filesystem can), insist on sharing blocks, or hard-link them.",
    ),
]
Link = Annotated[
    bool,
    typer.Option(
        "--link",
        help="Orbax: hard-link the data files instead of packing what is kept into new ones: quick, "
        "but shares the files with the source and reclaims no space.",
    ),
]


class Mode(StrEnum):
    """What becomes of an alias."""

    OMIT = "omit"
    ALIAS = "alias"


def choose_target(
    checkpoint: Path,
    output: Path | None,
    *,
    in_place: bool,
    dry_run: bool,
    kept_files: KeptFiles | None,
    link: bool,
    no_sync: bool,
) -> Target | None:
    """Says where a command writes; None when it only shows what it would do.

    Raises:
        UsageError: Two options contradict each other.
    """
    if output is not None and in_place:
        raise UsageError("--output and --in-place exclude each other", "Give one of them.")
    if link and kept_files not in (None, KeptFiles.HARDLINK):
        raise UsageError(
            f"--link and --kept-files {kept_files} exclude each other: --link is short for --kept-files hardlink",
            "Give one of them.",
        )
    if dry_run or (output is None and not in_place):
        return None
    path = checkpoint if output is None else output
    how = KeptFiles.HARDLINK if link else kept_files or KeptFiles.COPY
    return Target(path, in_place=in_place, kept_files=how.value, sync=not no_sync)


def read_text(path: Path) -> str:
    """Reads a small text file that the user named.

    Raises:
        PlanFileError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PlanFileError(f"`{path}` cannot be read: {reason}", "`tiecli find --plan FILE` writes one.") from error


def require_free(path: Path) -> None:
    """Refuses early what `write_text` could not write after long work.

    Raises:
        TargetExistsError: Something is there already.
        WriteFailedError: There is no such directory.
    """
    if path.exists() or path.is_symlink():
        raise TargetExistsError(f"`{path}` exists already", "Name another file, or remove it.")
    if not path.parent.is_dir():
        raise WriteFailedError(f"`{path}` cannot be written: no such directory", "Name another file.")


def write_text(path: Path, text: str) -> None:
    """Writes a small text file that the user named, replacing nothing.

    Raises:
        TargetExistsError: Something is there already.
        WriteFailedError: The system refused.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise TargetExistsError(f"`{path}` exists already", "Name another file, or remove it.") from error
    except OSError as error:
        raise WriteFailedError(f"`{path}` cannot be written: {error.strerror}", "Name another file.") from error


def replace_text(path: Path, text: str) -> None:
    """Writes a text file that the user named, all at once, in place of one that may be there.

    Raises:
        WriteFailedError: The system refused.
    """
    # Names of leaves may hold anything, half a character included.
    raw = text.encode("utf-8", "backslashreplace")
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device is written to, not replaced.
            path.write_bytes(raw)
            return
        target = path.resolve()
        draft = target.with_name(f".{target.name[:100]}.{os.getpid()}.tmp")
        try:
            with draft.open("xb") as file:
                file.write(raw)
            if target.exists():
                draft.chmod(target.stat().st_mode)
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteFailedError(f"`{path}` cannot be written: {error.strerror}", "Name another file.") from error
