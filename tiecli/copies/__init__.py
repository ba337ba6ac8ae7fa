"""Copies: values of one checkpoint put in the place of another's; equal now, and not tied."""

from __future__ import annotations

from tiecli.copies.planning import CopyPlan, CopyRequest, PlannedCopy, parse_map, plan_copy
from tiecli.copies.report import CopyReport, report_copy
from tiecli.copies.writing import write_copies

__all__ = [
    "CopyPlan",
    "CopyReport",
    "CopyRequest",
    "PlannedCopy",
    "parse_map",
    "plan_copy",
    "report_copy",
    "write_copies",
]
