"""Listing: which leaves a checkpoint stores, and whether that can be told at all."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tiecli.linting.placing import is_readable, list_sets

if TYPE_CHECKING:
    from tiecli.linting.subject import Subject


def list_names(subject: Subject) -> Collection[str]:
    """Lists the names of all leaves, those whose shape or dtype makes no sense included."""
    if any(file.damages for file in subject.files):
        return subject.homes.keys()
    return subject.specs.keys()


def knows_all_names(subject: Subject) -> bool:
    """Whether a leaf that is not listed is not stored: no shard is missing, no header unreadable."""
    if subject.unit.format == "orbax":
        return subject.reader is not None
    survey = subject.safetensors
    if survey.missing or not subject.files or (survey.shard_index is not None and survey.shard_index.problems):
        return False
    if survey.shard_index is None and not all(
        found.is_whole for found in list_sets(file.name for file in survey.files)
    ):
        return False
    return all(map(is_readable, survey.files))
