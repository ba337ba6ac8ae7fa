"""Reports: what `tie` and `untie` did, or would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import Comparison
from tiecli.leaves import LeafSpec
from tiecli.plan import Mode, Plan
from tiecli.transforms import Transform


@dataclass(frozen=True, slots=True)
class ReportedTie:
    """One tie that was made or undone.

    Attributes:
        alias: On-disk name of the leaf that follows.
        canonical: On-disk name of the leaf it follows from.
        transform: How.
        spec: Shape and dtype of the alias.
        also_fits: Other transforms that the same bytes fit.
        drift: How far the pair had drifted apart, where `keep` let it pass.
        same_as_tied: For an untie: whether the canonical leaf is still what it was when
            the tie was made; None when nothing was recorded.
        mode: Whether the alias left the checkpoint, or is a second name of the same bytes.
    """

    alias: str
    canonical: str
    transform: Transform
    spec: LeafSpec
    also_fits: tuple[Transform, ...] = ()
    drift: Comparison | None = None
    same_as_tied: bool | None = None
    mode: Mode = "omit"


@dataclass(frozen=True, slots=True)
class ReportedSlot:
    """What became of one leaf of an optimizer's state.

    Attributes:
        slot: Its name: `mu`, `exp_avg_sq`, ….
        alias: On-disk name of what is kept for the alias.
        canonical: On-disk name of what is kept for its canonical leaf.
        transform: How the one follows from the other from now on.
        regime: How the two leaves were trained, told by their state.
        rule: What was done.
        exact: Whether training goes on as if the leaves had always been tied.
        mode: As of a tie between leaves.
    """

    slot: str
    alias: str
    canonical: str
    transform: Transform
    regime: str
    rule: str
    exact: bool
    mode: Mode = "omit"


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What `tie` or `untie` did, or (with `output` None) would do.

    Attributes:
        verb: Which of the two.
        checkpoint: The source.
        format: `safetensors` or `orbax`.
        ties: The ties that were made or undone.
        leaves_kept: Leaves whose stored bytes moved unchanged.
        bytes_kept: Their size.
        bytes_before: Leaf bytes stored in the source.
        bytes_after: Leaf bytes stored in the result.
        output: The file or directory written; None for a dry run.
        config: One line: what became of `config.json`, and why; empty without one.
        restored: For an untie of everything: whether header, index and config are the
            original's, byte for byte; None when there is no record of them.
        notices: What else a person must know.
        slots: What became of the state that an optimizer keeps for the leaves.
    """

    verb: Literal["tie", "untie"]
    checkpoint: Path
    format: str
    ties: tuple[ReportedTie, ...]
    leaves_kept: int
    bytes_kept: int
    bytes_before: int
    bytes_after: int
    output: Path | None = None
    config: str = ""
    restored: bool | None = None
    notices: tuple[str, ...] = ()
    slots: tuple[ReportedSlot, ...] = ()


def report_plan(
    verb: Literal["tie", "untie"],
    reader: CheckpointReader,
    plan: Plan,
    ties: Sequence[ReportedTie],
    config: str,
    notices: Sequence[str],
) -> ApplyReport:
    """Reports a plan before it is applied: what goes, what stays, nothing written yet."""
    specs = reader.specs()
    return ApplyReport(
        verb=verb,
        checkpoint=reader.root,
        format=reader.format,
        ties=tuple(ties),
        leaves_kept=len(plan.kept),
        bytes_kept=sum(specs[path].nbytes for path in plan.kept),
        bytes_before=plan.bytes_before,
        bytes_after=plan.bytes_after,
        config=config,
        notices=tuple(notices),
    )
