"""Transforms: how an alias follows from its canonical leaf, as text, as rules, on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiecli.transforms.pipeline import SAME, Transform, compose, permutations_that_fit

if TYPE_CHECKING:
    from tiecli.transforms.exactness import Exactness
    from tiecli.transforms.steps import Step

    TRANSPOSE: Transform

__all__ = ["SAME", "TRANSPOSE", "Exactness", "Step", "Transform", "compose", "permutations_that_fit"]


def __getattr__(name: str) -> object:
    # Start-up time: what stands behind these names takes longer to import than all the rest.
    if name == "TRANSPOSE":
        return Transform.parse("transpose")
    if name == "Exactness":
        from tiecli.transforms.exactness import Exactness

        return Exactness
    if name == "Step":
        from tiecli.transforms.steps import Step

        return Step
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
