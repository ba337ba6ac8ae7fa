"""Verdicts: what verifying a tied checkpoint found, tie by tie and for the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tiecli.leaves import LeafSpec

Verdict = Literal["PASS", "NOT APPLICABLE", "VACUOUS", "AMBIGUOUS", "FAIL", "REJECT"]
"""From best to worst; only the first two mean that nothing is left to be shown."""

VERDICTS: tuple[Verdict, ...] = ("PASS", "NOT APPLICABLE", "VACUOUS", "AMBIGUOUS", "FAIL", "REJECT")
PASSING: tuple[Verdict, ...] = ("PASS", "NOT APPLICABLE")

BytesState = Literal["equal", "differ", "as recorded", "not as recorded", "unknown"]
"""How the alias's bytes compare: against the original, or against the digest in the manifest."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict and why.

    Attributes:
        verdict: The verdict.
        reason: One line, lower-case, leaf names in backticks; empty for a plain PASS.
    """

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GradientMeasure:
    """What a gradient test measured for one tie; all in float64.

    Attributes:
        error: Largest absolute difference between the tied gradient at the canonical leaf
            and the sum that it must be.
        bound: What the error may be at most.
        src_norm: Largest absolute gradient at the canonical leaf in the untied model.
        dst_norm: The same of the alias, taken back through the transform's adjoint.
    """

    error: float
    bound: float
    src_norm: float
    dst_norm: float

    @property
    def holds(self) -> bool:
        """Whether the error is within the bound; a NaN is not."""
        return self.error <= self.bound


@dataclass(frozen=True, slots=True)
class DifferencePicture:
    """How the difference between two gradients is spread over a leaf, coarse enough to be drawn.

    Attributes:
        shape: That of the leaf.
        histogram: How many elements differ by how much, the least first: `(e, n)` for the
            n elements that differ by 2**e or more and by less than 2**(e + 1).
        equal: How many do not differ.
        undefined: How many are not finite on either side.
        heat: The largest absolute difference in each cell of a grid over the leaf's last two
            axes and whatever lies before them; infinite where it is undefined.
    """

    shape: tuple[int, ...]
    histogram: tuple[tuple[int, int], ...]
    equal: int
    undefined: int
    heat: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class TieVerdict:
    """What was found of one tie.

    Attributes:
        alias: The leaf that follows, as people see it.
        canonical: The leaf it follows from; several are written `(a, b)`.
        transform: How, in canonical text.
        spec: Shape and dtype of the alias.
        judgement: The verdict: the worst of all tests.
        bytes_state: How the alias's bytes compare.
        fits: Transforms that the bytes fit, the stated one first.
        differing: How many elements differ from what the transform gives.
        max_ulp: How far, in units in the last place; None where that means nothing.
        worst: Index of the largest difference.
        probe: What the probe measured; None where there was nothing to differentiate.
        notes: What else is worth knowing, one line each.
        picture: Where the gradients that `probe` compared differ; None unless it was asked for.
    """

    alias: str
    canonical: str
    transform: str
    spec: LeafSpec
    judgement: Judgement
    bytes_state: BytesState = "unknown"
    fits: tuple[str, ...] = ()
    differing: int = 0
    max_ulp: int | None = None
    worst: tuple[int, ...] | None = None
    probe: GradientMeasure | None = None
    notes: tuple[str, ...] = ()
    picture: DifferencePicture | None = None


@dataclass(frozen=True, slots=True)
class LossCheck:
    """What a loss of the user's own showed at one point.

    Attributes:
        name: `module:function`.
        kind: `loss` is of the full tree; `reference` of the tied one.
        point: `stored`, or `perturbed 1`, ….
        loss_tied: The loss through the manifest.
        loss_other: The loss of the untied tree, or of the reference.
        judgements: For each tie, by the alias's name.
        measures: What was measured, by the same.
    """

    name: str
    kind: Literal["loss", "reference"]
    point: str
    loss_tied: float
    loss_other: float
    judgements: tuple[tuple[str, Judgement], ...]
    measures: tuple[tuple[str, GradientMeasure], ...]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """How training went on, tied and otherwise.

    Attributes:
        optimizer: `sgd`, `adam` or `adamw`.
        steps: How many.
        tied_apart: For each step, how far tied training and untied training with summed
            gradients lie apart, relative to the largest parameter.
        naive_apart: The same for untied training with each leaf's own gradient.
        holds: Whether the first stayed within rounding.
        loss: What was trained: `module:function`, or the probe's loss.
        notes: What of large leaves was taken or left out, one line each.
    """

    optimizer: str
    steps: int
    tied_apart: tuple[float, ...]
    naive_apart: tuple[float, ...]
    holds: bool
    loss: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OtherLeaves:
    """The leaves that are not tied.

    Attributes:
        compared: How many were compared with the original's; 0 without one.
        differing: Those that are not byte for byte the original's, or are not there.
    """

    compared: int = 0
    differing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verifying found.

    Attributes:
        checkpoint: The tied checkpoint.
        original: What it was made from, if that was given.
        device: What the gradients were computed on, for people; empty if none were.
        judgement: For the whole.
        ties: One a tie.
        others: The leaves that are not tied.
        losses: What the user's own losses showed.
        trajectory: How training went on; None if that was not asked for.
        allowed: Verdicts that were declared acceptable.
    """

    checkpoint: Path
    original: Path | None
    device: str
    judgement: Judgement
    ties: tuple[TieVerdict, ...]
    others: OtherLeaves = OtherLeaves()
    losses: tuple[LossCheck, ...] = ()
    trajectory: Trajectory | None = None
    allowed: tuple[Verdict, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the answer is yes: every verdict passes or was declared acceptable."""
        return self.judgement.verdict in (*PASSING, *self.allowed)


def worst_of(judgements: Iterable[Judgement]) -> Judgement:
    """Gives the worst of several judgements, the first of equals; a plain PASS if there are none.

    Example:
        >>> worst_of([Judgement("PASS"), Judgement("FAIL", "it differs"), Judgement("AMBIGUOUS")])
        Judgement(verdict='FAIL', reason='it differs')
    """
    return max(judgements, key=lambda judgement: VERDICTS.index(judgement.verdict), default=Judgement("PASS"))
