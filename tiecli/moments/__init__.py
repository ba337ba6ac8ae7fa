"""Moments: what becomes of optimizer state when leaves are tied, so that training goes on as if they always had been.

What an optimizer keeps for an alias follows from what it keeps for the canonical leaf, as
the alias itself does: it becomes a tie of its own, recorded and undone like any other. Where
the two were trained apart, the canonical leaf's state takes the alias's up first.
"""

from __future__ import annotations

from tiecli.moments.rules import CarriedSlot, Policy, Regime, RestoredState, Rule, StatePlan, choose_copy

# Planning is imported where there is state to plan for, which most checkpoints lack.
__all__ = ["CarriedSlot", "Policy", "Regime", "RestoredState", "Rule", "StatePlan", "choose_copy"]
