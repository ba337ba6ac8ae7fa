"""Comparing: stored pairs that are to be tied, each with how its leaves compare; shared by the rules about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tiecli.compare import Comparison
    from tiecli.linting.subject import Subject
    from tiecli.linting.tying import StatedTie


class ComparedTie(NamedTuple):
    """A pair that is to be tied and is stored all the same.

    Attributes:
        tie: Who says so, and of which leaves.
        comparison: How the alias compares with what it should be.
        shared: Whether both names lead to the same stored bytes.
        sharable: Whether they could, for all that the format knows.
    """

    tie: StatedTie
    comparison: Comparison
    shared: bool
    sharable: bool

    @property
    def source(self) -> str:
        """What the alias should be, in backticks, with the transform."""
        steps = "" if self.tie.transform == "same" else f" | {self.tie.transform}"
        return f"`{self.tie.canonical}{steps}`"

    @property
    def leaves(self) -> tuple[str, ...]:
        """The alias, then what it follows from."""
        return (self.tie.alias, *(self.tie.parts or (self.tie.canonical,)))


def compare_ties(subject: Subject) -> Iterator[ComparedTie]:
    """Yields the pairs that config, settings or manifest tie, both stored, under shapes and dtypes that fit.

    Pairs that releases of one loader disagree about are left out: what is the matter with them
    is not their values. So are those of the files' metadata, which TIE009 tells of.

    Args:
        subject: The checkpoint; one that can be read.

    Raises:
        CheckpointError: A leaf cannot be read.
    """
    seen: set[tuple[str, str]] = set()
    for tie in subject.stated:
        pair = tie.canonical, tie.alias
        if tie.tied and not tie.disputed and tie.source != "metadata" and pair not in seen:
            seen.add(pair)
            comparison = subject.searcher.compare(tie.parts or (tie.canonical,), tie.alias, tie.transform)
            if comparison is not None:
                shared = not tie.parts and subject.searcher.are_shared(*pair)
                sharable = not tie.parts and subject.searcher.can_share(*pair, tie.transform)
                yield ComparedTie(tie, comparison, shared, sharable)
