"""Detecting: which leaves are equal under some transform, and which have drifted apart."""

from __future__ import annotations

from tiecli.detect.hits import FindReport, Hit, HitKind
from tiecli.detect.search import find_ties

__all__ = ["FindReport", "Hit", "HitKind", "find_ties"]
