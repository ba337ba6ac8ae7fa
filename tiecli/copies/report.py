"""Report: what `copy` did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tiecli.copies.planning import CopyPlan
from tiecli.keypaths import spell_leaves
from tiecli.leaves import LeafSpec
from tiecli.transforms import Transform


@dataclass(frozen=True, slots=True)
class CopiedLeaf:
    """One leaf that got new values.

    Attributes:
        dst: Its name.
        src: The leaf they come from, as it was named.
        transform: What was asked to be made of them.
        spec: Its shape and dtype.
    """

    dst: str
    src: str
    transform: Transform
    spec: LeafSpec


@dataclass(frozen=True, slots=True)
class MismatchedLeaf:
    """A leaf that both checkpoints have, of another shape or dtype; it stays as it is."""

    leaf: str
    found: LeafSpec
    expected: LeafSpec


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What `copy` did, or (with `output` None) would do.

    Attributes:
        source: Where values come from.
        destination: Where they go.
        copies: Leaves that got new values, in stored order.
        nbytes: Their size.
        missing: Leaves of the destination that keep theirs.
        extra: Leaves of the source that were copied nowhere.
        mismatched: Leaves that both have and that do not fit.
        by_name: Whether leaves were paired by their names, none being asked for.
        follows: Aliases of the destination whose canonical leaves got new values, and that change with them.
        output: The file or directory written; None for a dry run.
        notices: What else a person must know.
    """

    source: Path
    destination: Path
    copies: tuple[CopiedLeaf, ...]
    nbytes: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    mismatched: tuple[MismatchedLeaf, ...]
    by_name: bool
    follows: tuple[str, ...] = ()
    output: Path | None = None
    notices: tuple[str, ...] = ()


def report_copy(
    source: Path, destination: Path, plan: CopyPlan, follows: tuple[str, ...], *, by_name: bool
) -> CopyReport:
    """Reports a plan before it is carried out."""
    return CopyReport(
        source,
        destination,
        tuple(CopiedLeaf(copy.dst.spelling, spell_leaves(copy.named), copy.asked, copy.spec) for copy in plan.copies),
        sum(copy.spec.nbytes for copy in plan.copies),
        tuple(path.spelling for path in plan.missing),
        tuple(path.spelling for path in plan.extra),
        tuple(MismatchedLeaf(it.leaf.spelling, it.found, it.expected) for it in plan.mismatched),
        by_name,
        follows,
    )
