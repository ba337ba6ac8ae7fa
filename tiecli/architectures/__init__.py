"""Architectures: what known model classes tie, and what their `config.json` says about it.

`classes.json` is data, made by asking transformers itself; no rule here names a model.
"""

from __future__ import annotations

from tiecli.architectures.roles import named_like_ties, preferred_canonical
from tiecli.architectures.ties import ConfigChange, DeclaredTie, declared_ties, plan_config_change

__all__ = [
    "ConfigChange",
    "DeclaredTie",
    "declared_ties",
    "named_like_ties",
    "plan_config_change",
    "preferred_canonical",
]
