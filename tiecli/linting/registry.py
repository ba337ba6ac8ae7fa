"""Registry: all rules by their codes; each is imported when it is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tiecli.linting.rule import Rule

# How many rules each family has; their codes count from 001 and are never given anew.
_FAMILIES = {"TIE": 18, "DUP": 1, "STF": 14, "IDX": 10, "CFG": 2, "KEY": 3, "NUM": 5, "OPT": 4, "ORB": 10}

CODES: tuple[str, ...] = tuple(f"{family}{n:03}" for family, count in _FAMILIES.items() for n in range(1, count + 1))
"""Every code, in the order of the catalogue."""


@cache
def find_rule(code: str) -> Rule:
    """Gives the rule of a code.

    Raises:
        KeyError: There is none.
    """
    if code not in CODES:
        raise KeyError(code)
    rule: Rule = import_module(f"tiecli.linting.rules.{code.lower()}").RULE
    return rule


def list_rules() -> tuple[Rule, ...]:
    """Lists all rules, in the order of the catalogue."""
    return tuple(map(find_rule, CODES))
