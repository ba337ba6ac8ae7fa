"""Orbax surveys: an item, step or CheckpointManager directory, finished or not."""

from __future__ import annotations

from typing import NamedTuple

from tiecli.checkpoints.survey.units import Unit


class OrbaxSurvey(NamedTuple):
    """What can be told of an Orbax checkpoint by its directories and metadata.

    Attributes:
        unit: Where it is.
    """

    unit: Unit


def survey_orbax(unit: Unit) -> OrbaxSurvey:
    """Looks at the directories and metadata of an Orbax checkpoint; no array data is read.

    Raises:
        UnreadableFileError: The system refuses.
    """
    return OrbaxSurvey(unit)
