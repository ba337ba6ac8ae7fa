"""Filling: writes one file of a checkpoint into its stage, and has it looked at."""

from __future__ import annotations

import os
import stat
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from threading import Thread

from tiecli.checkpoints.copying import Output, reserve
from tiecli.checkpoints.protocol import Progress, ignore_progress
from tiecli.checkpoints.safetensors.layout import FileLayout, Part, Run
from tiecli.checkpoints.trees import set_mode
from tiecli.errors import WriteFailedError


def fill_file(
    descriptor: int, path: Path, layout: FileLayout, status: os.stat_result, sync: bool, progress: Progress
) -> None:
    """Writes a safetensors file whole, and has the reference reader look at it.

    Args:
        descriptor: Of the file, empty and open for writing.
        path: Of the file.
        layout: What to write.
        status: Of the file it replaces, whose permissions it gets.
        sync: Wait until it is on the disk.
        progress: Told of every piece.

    Raises:
        WriteFailedError: A leaf came with too few or too many bytes, or the reference
            reader refuses the result.
        SourceChangedError: The source became shorter.
        OSError: The system refused.
    """
    reader = Thread(target=_load_reference_reader)
    reader.start()
    output = Output(descriptor, sync, progress)
    output.write(len(layout.raw).to_bytes(8, "little") + layout.raw)
    rest: list[tuple[int, Part]] = []
    for position, part in zip(_positions(output.position, layout.parts), layout.parts, strict=True):
        output.position = position
        if not (isinstance(part, Run) and output.share(part.descriptor, part.offset, part.nbytes)):
            rest.append((position, part))
    if rest and not output.shares:
        # Space reserved under blocks that are then shared would be taken twice for a while.
        reserve(descriptor, layout.nbytes)
    for position, part in rest:
        output.position = position
        if isinstance(part, Run):
            output.copy(part.descriptor, part.offset, part.nbytes)
        else:
            output.write_blocks(part.blocks, part.nbytes, part.name)
    reader.join()
    check_opens(path, layout.leaves)
    _finish(descriptor, path, status, sync)


def _positions(start: int, parts: tuple[Part, ...]) -> list[int]:
    return list(accumulate((part.nbytes for part in parts[:-1]), initial=start))[: len(parts)]


def fill_text(descriptor: int, path: Path, raw: bytes, status: os.stat_result, sync: bool) -> None:
    """Writes a text file whole; arguments as for `fill_file`."""
    Output(descriptor, sync, ignore_progress).write(raw)
    _finish(descriptor, path, status, sync)


def _finish(descriptor: int, path: Path, status: os.stat_result, sync: bool) -> None:
    set_mode(path, stat.S_IMODE(status.st_mode))
    if sync:
        os.fsync(descriptor)


def _load_reference_reader() -> None:
    """Imports what `check_opens` needs, on another core, while the kernel copies.

    It brings numpy along, which takes a tenth of the time that 3 GB take to copy.
    """
    from safetensors import safe_open  # noqa: F401

    import_module("numpy")


def check_opens(path: Path, leaves: int) -> None:
    """Has the reference reader open a file that was just written; it reads the header only.

    Raises:
        WriteFailedError: It refuses, or sees another number of leaves.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as opened:
            found = len(opened.keys())
    except SafetensorError as error:
        raise WriteFailedError(f"safetensors refuses what was written: {error}", "This is a bug; report it.") from error
    if found != leaves:
        raise WriteFailedError(f"safetensors sees {found} leaves, expected {leaves}", "This is a bug; report it.")
