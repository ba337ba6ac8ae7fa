"""Report: what `convert` did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiecli.checkpoints.protocol import WrittenFile
from tiecli.leaves import LeafSpec
from tiecli.plan import Mode
from tiecli.transforms import Transform

Format = Literal["safetensors", "orbax"]


@dataclass(frozen=True, slots=True)
class ConvertedTie:
    """One tie that goes along.

    Attributes:
        alias: Name of the leaf that follows, as both formats spell it.
        canonical: Name of the leaf it follows from.
        transform: How.
        spec: Shape and dtype of the alias.
        before: Whether the source does not store the alias, or has it as a second name of the same bytes.
        after: The same of the new checkpoint.
    """

    alias: str
    canonical: str
    transform: Transform
    spec: LeafSpec
    before: Mode
    after: Mode


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What `convert` did, or (with `output` None) would do.

    Attributes:
        checkpoint: The source.
        source_format: Its format.
        format: The format of the new checkpoint.
        leaves: Leaves that are stored in the new checkpoint, second names not counted.
        nbytes: Their size.
        copied_nbytes: How much of it moved as it was, undecoded.
        ties: The ties that go along.
        files: The files of the new checkpoint; empty for a dry run.
        output: The file or directory written; None for a dry run.
        notices: What else a person must know.
    """

    checkpoint: Path
    source_format: Format
    format: Format
    leaves: int
    nbytes: int
    copied_nbytes: int
    ties: tuple[ConvertedTie, ...]
    files: tuple[WrittenFile, ...] = ()
    output: Path | None = None
    notices: tuple[str, ...] = ()
