"""Declaring: ties that a project's settings state for its checkpoints, where no config knows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeclaredPair:
    """One tie of `[[tool.tiecli.ties]]`, its patterns not expanded yet.

    Attributes:
        src: The canonical leaf, or a pattern of it.
        dst: The alias, or a pattern of it.
        transform: How the alias follows, in text form.
        path: Glob of the checkpoints that it is meant for; empty for all.
    """

    src: str
    dst: str
    transform: str = "same"
    path: str = ""

    def __str__(self) -> str:
        """As one line: `alias = canonical | transform`."""
        return f"{self.dst} = {self.src}" + ("" if self.transform == "same" else f" | {self.transform}")
