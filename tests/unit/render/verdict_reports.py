"""Reports as `verify` could give them, for those who show them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tiecli.leaves import DTYPES, LeafSpec
from tiecli.verification.pictures import DifferencePainter
from tiecli.verification.verdicts import (
    DifferencePicture,
    GradientMeasure,
    Judgement,
    LossCheck,
    OtherLeaves,
    TieVerdict,
    Trajectory,
    Verdict,
    VerifyReport,
    worst_of,
)

SQUARE = LeafSpec((64, 64), DTYPES["F32"])
OTHERS = OtherLeaves(295)
GOOD = GradientMeasure(3.1e-16, 3.6e-15, 41.2, 39.87)
BAD = GradientMeasure(0.25, 3.6e-15, 41.2, 39.87)

HOSTILE = (
    "</td><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg/onload=document.title='owned'>",
    "\"' onmouseover=\"document.title='owned'",
    "]]></style></svg></title><script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "a&lt;b&amp;c",
    "bell\x07\x1b[2J\x00" + chr(0x202E) + "desrever",
    "\ud800 lone surrogate",
    "<!-- --><a href='http://example.invalid/'>",
)
"""Names of leaves as an attacker would write them."""


def paint(seed: int, *, scale: float = 1e-16, shape: tuple[int, ...] = (64, 64)) -> DifferencePicture:
    """A picture of random differences, half of them zero."""
    random = np.random.default_rng(seed)
    difference = random.normal(size=shape) * scale * 10 ** random.normal(size=shape)
    difference *= random.random(shape) < 0.5
    painter = DifferencePainter(shape)
    painter.add(tuple((0, length) for length in shape), difference)
    return painter.picture()


def measure_of(picture: DifferencePicture) -> GradientMeasure:
    """A measure whose bound holds, if only just."""
    error = max(value for row in picture.heat for value in row)
    return GradientMeasure(error, error * 1.5, 41.2, 39.87)


def make_tie(
    alias: str,
    canonical: str = "embed.weight",
    verdict: Verdict = "PASS",
    reason: str = "",
    *,
    transform: str = "same",
    picture: DifferencePicture | None = None,
) -> TieVerdict:
    """One tie; those that fail have lost one element."""
    failed = verdict == "FAIL"
    return TieVerdict(
        alias=alias,
        canonical=canonical,
        transform=transform,
        spec=SQUARE,
        judgement=Judgement(verdict, reason),
        bytes_state="differ" if failed else "equal",
        fits=(transform, "transpose") if verdict == "AMBIGUOUS" else (transform,),
        differing=1 if failed else 0,
        max_ulp=1 if failed else 0,
        worst=(3, 5) if failed else None,
        probe=BAD if failed else GOOD if picture is None else measure_of(picture),
        picture=picture,
    )


def make_report(
    *ties: TieVerdict,
    losses: tuple[LossCheck, ...] = (),
    trajectory: Trajectory | None = None,
    others: OtherLeaves = OTHERS,
) -> VerifyReport:
    """A report of these ties, judged by the worst of them."""
    return VerifyReport(
        checkpoint=Path("runs/tied.safetensors"),
        original=Path("runs/model.safetensors"),
        device="cuda:0 (NVIDIA H200), float64",
        judgement=worst_of(tie.judgement for tie in ties),
        ties=ties,
        others=others,
        losses=losses,
        trajectory=trajectory,
    )


def make_full_report() -> VerifyReport:
    """A report in which everything occurs that a page can show."""
    broken = paint(2, scale=0.01)
    ties = (
        make_tie("lm_head.weight", picture=paint(1)),
        make_tie("dec.weight", "enc.weight", transform="transpose(1,0) | scale(0x1.6a09e6p+4)", picture=paint(3)),
        make_tie("wrong.weight", "right.weight", "FAIL", "1 of 4,096 elements differs", picture=broken),
        make_tie("gate.weight", "mix.weight", "AMBIGUOUS", "the bytes fit same, transpose", picture=paint(4)),
        make_tie("dead.weight", "live.weight", "VACUOUS", "the loss ignores `dead.weight`"),
        make_tie("count", "step", "NOT APPLICABLE", "integers have no gradient"),
        make_tie("gone", "nowhere", "REJECT", "its canonical leaf `nowhere` is not stored"),
        *(make_tie(f"h.{layer}.mlp.weight", "h.0.mlp.weight", picture=paint(5)) for layer in range(1, 96)),
        *(make_tie(f"layers.{layer}.out", f"layers.{layer}.in", picture=paint(100 + layer)) for layer in range(80)),
    )
    judgements = ((ties[0].alias, Judgement("PASS")), (ties[2].alias, Judgement("FAIL", "gradients differ")))
    measures = ((ties[0].alias, GOOD), (ties[2].alias, BAD))
    points = ("stored", "perturbed 1", "perturbed 2")
    losses = tuple(
        LossCheck("model:loss", "loss", point, 2.25, 2.25 + at * 1e-9, judgements, measures)
        for at, point in enumerate(points)
    )
    apart = tuple(1e-16 * (step + 1) ** 0.5 for step in range(40))
    naive = (0.0, *(1e-3 * math.log1p(step) for step in range(1, 40)))
    return make_report(
        *ties,
        losses=losses,
        trajectory=Trajectory("adam", 40, apart, naive, holds=True),
        others=OtherLeaves(295, ("norm.weight",)),
    )
