"""Slots: what optimizers keep for each parameter, and where it stands."""

from __future__ import annotations

from tiecli.slots.finding import Leaf, SlotReport, SlotTree, find_slots, is_left_empty, is_nearly_all
from tiecli.slots.names import HINTS, SLOTS, Keys, Kind, find_root, read_paths, tells_of_state

__all__ = [
    "HINTS",
    "SLOTS",
    "Keys",
    "Kind",
    "Leaf",
    "SlotReport",
    "SlotTree",
    "find_root",
    "find_slots",
    "is_left_empty",
    "is_nearly_all",
    "read_paths",
    "tells_of_state",
]
