"""Damaged: what is wrong with the files of a checkpoint as containers, for the rules that tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiecli.checkpoints.survey.files import Damage, DamageKind, FileSurvey
    from tiecli.linting.subject import Subject


def list_damages(subject: Subject, kind: DamageKind) -> Iterator[tuple[FileSurvey, Damage]]:
    """Lists the damages of one kind, each with the file that has it."""
    return ((file, damage) for file in subject.files for damage in file.damages if damage.kind == kind)


def count_bytes(count: float) -> str:
    """Words a number of bytes, which for packed elements may be a fraction.

    Example:
        >>> count_bytes(1), count_bytes(4096), count_bytes(1.5)
        ('1 byte', '4,096 bytes', '1.5 bytes')
    """
    return f"{count:,} byte{'s' * (count != 1)}"


def name_bytes(start: int, stop: int) -> str:
    """Words a range of bytes, the end not included, by its first and last.

    Example:
        >>> name_bytes(8, 16), name_bytes(8, 9)
        ('bytes 8-15', 'byte 8')
    """
    return f"byte {start:,}" if stop - start == 1 else f"bytes {start:,}-{stop - 1:,}"
