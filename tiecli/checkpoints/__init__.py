"""The door: every read and write of a checkpoint goes through here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiecli.checkpoints.protocol import CheckpointReader


def open_reader(path: str | os.PathLike[str]) -> CheckpointReader:
    """Opens a checkpoint: a safetensors file, a Hugging Face directory, or any file of one.

    Only headers are read. Close the reader, or use it as a context manager.

    Raises:
        CheckpointNotFoundError: Nothing is there, or nothing that is a checkpoint.
        CheckpointError: It is damaged or cannot be read; the class says how.
    """
    from tiecli.checkpoints.huggingface import locate
    from tiecli.checkpoints.safetensors import SafetensorsReader

    return SafetensorsReader(locate(Path(path)))
