"""Conversion: what becomes of names, ties and metadata when a checkpoint changes its format."""

from __future__ import annotations

from tiecli.conversion.metadata import Carried, carry_metadata
from tiecli.conversion.names import to_name, to_path
from tiecli.conversion.report import ConvertReport
from tiecli.conversion.ties import CarriedTies, carry_ties

__all__ = ["Carried", "CarriedTies", "ConvertReport", "carry_metadata", "carry_ties", "to_name", "to_path"]
