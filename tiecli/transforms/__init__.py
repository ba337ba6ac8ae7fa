"""Transforms: how an alias follows from its canonical leaf, as text, as rules, on arrays."""

from __future__ import annotations

from tiecli.transforms.exactness import Exactness
from tiecli.transforms.pipeline import SAME, TRANSPOSE, Transform, compose, permutations_that_fit
from tiecli.transforms.steps import Step

__all__ = ["SAME", "TRANSPOSE", "Exactness", "Step", "Transform", "compose", "permutations_that_fit"]
