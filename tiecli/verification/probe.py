"""The probe: whether the canonical leaf of a tie receives the gradient that the tie promises.

Untied, the gradient is taken at the leaves of the file before tying: `g_src` at the
canonical leaf, `g_dst` at the alias. Tied, it is taken at the canonical leaf of the written
file, through the manifest's transform. The claim is `g_tied = g_src + T'(g_dst)`; since the
two sides read different files, a transform that does not fit the bytes fails.

Each tie has a loss of its own, of the leaves that it names, so that one bad tie of a group
is told from its neighbours. Their sum is a loss of all of them, whose gradient at a
canonical leaf is the sum over its ties; it holds where it holds for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tiecli.checkpoints.protocol import Progress, ignore_progress
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie
from tiecli.transforms.shapes import stage_specs
from tiecli.verification.devices import Device
from tiecli.verification.drawing import draw_tie
from tiecli.verification.groups import TieGroup
from tiecli.verification.loading import Sources
from tiecli.verification.measuring import Tally, measure_jobs, tile_size
from tiecli.verification.processes import ALONE, Processes
from tiecli.verification.statements import check_gradient
from tiecli.verification.verdicts import DifferencePicture, GradientMeasure, Judgement
from tiecli.verification.views import list_jobs

__all__ = ["TOLERANCE", "ProbeResult", "Sources", "judge_gradients", "probe_group"]

TOLERANCE = 1e-12
"""How far two gradients may lie apart, relative to the largest: rounding makes 1e-15, one ulp of a float32 1e-9."""

_POWER = 1e3
"""How many times the bound a gradient must be for a mistake in it to be seen."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe says of one tie.

    Attributes:
        judgement: Its verdict.
        measure: What it measured; None where there is nothing to differentiate.
        notes: What else is worth knowing, one line each.
        picture: Where the gradients differ; None unless it was asked for.
    """

    judgement: Judgement
    measure: GradientMeasure | None = None
    notes: tuple[str, ...] = ()
    picture: DifferencePicture | None = None


def probe_group(
    group: TieGroup,
    sources: Sources,
    device: Device,
    progress: Progress = ignore_progress,
    *,
    pictures: bool = False,
    processes: Processes = ALONE,
) -> Mapping[KeyPath, ProbeResult]:
    """Puts the gradients of every tie of a group to the test.

    Args:
        group: The ties.
        sources: Where the leaves are read.
        device: Where gradients are computed.
        progress: Told how many more bytes of aliases have been dealt with.
        pictures: Also draw where gradients differ, which reads everything once more.
        processes: Those that do this together; each reads its share of the tiles.

    Returns:
        For each alias, what was found.

    Raises:
        TransformMismatchError: A transform does not fit.
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    refusals = {tie.alias: _refuse(tie, sources) for tie in group.ties}
    ties = [tie for tie in group.ties if refusals[tie.alias] is None]
    tallies = _measure(ties, sources, device, progress, processes)
    results = {tie.alias: ProbeResult(refusal) for tie in group.ties if (refusal := refusals[tie.alias])}
    results |= {tie.alias: _conclude(tie, tallies[tie.alias], sources) for tie in ties}
    if pictures:
        drawn = processes.map(ties, lambda tie: draw_tie(tie, sources, device, tallies[tie.alias].factors()[1]))
        results |= {
            tie.alias: replace(results[tie.alias], picture=picture) for tie, picture in zip(ties, drawn, strict=True)
        }
    return {tie.alias: results[tie.alias] for tie in group.ties}


def _measure(
    ties: Sequence[Tie], sources: Sources, device: Device, progress: Progress, processes: Processes
) -> Mapping[KeyPath, Tally]:
    """Measures all tiles of some ties; what the processes measured is put together in all of them."""
    specs = sources.tied.specs()
    size = tile_size(device, max((specs[path].size for tie in ties for path in tie.canonicals), default=0))
    runs = tuple(list_jobs(ties, specs, size, wide=device.platform != "tpu"))

    def measure_share() -> tuple[tuple[int, list[list[float]]], ...]:
        """Measures this process's share, and gives for each tie what a tally holds."""
        tallies = {tie.alias: Tally() for tie in ties}
        for job, row in measure_jobs(processes.share(runs), sources, device):
            tallies[job.tie.alias].add(job, row)
            progress(job.nbytes)
        return tuple((tally.entries, [row.tolist() for row in tally.rows]) for tally in tallies.values())

    shares = processes.exchange(measure_share)
    return {
        tie.alias: Tally(
            [np.array(row) for share in shares for row in share[at][1]], sum(share[at][0] for share in shares)
        )
        for at, tie in enumerate(ties)
    }


def judge_gradients(measure: GradientMeasure, canonical: str) -> Judgement:
    """Judges what was measured; whatever is no number fails.

    Args:
        measure: What was measured.
        canonical: The leaf at which gradients were compared, for the reason.
    """
    if not measure.holds:
        return Judgement(
            "FAIL",
            f"the gradient at `{canonical}` is off by {measure.error:.3g}, and at most {measure.bound:.3g} is rounding",
        )
    weak = [
        name
        for name, norm in (("alias", measure.dst_norm), (f"`{canonical}`", measure.src_norm))
        if not norm > _POWER * measure.bound
    ]
    if weak:
        return Judgement("VACUOUS", f"the gradient of {weak[0]} is too small to show a mistake")
    return Judgement("PASS")


def _refuse(tie: Tie, sources: Sources) -> Judgement | None:
    """Says why there is nothing to differentiate, or nothing to compare; None where there is."""
    specs = sources.tied.specs()
    if missing := [path for path in tie.canonicals if path not in specs]:
        return Judgement("REJECT", f"`{missing[0].spelling}` is not stored")
    leaves = [specs[path] for path in tie.canonicals]
    applicable = check_gradient(tie.transform, leaves)
    if applicable.verdict != "PASS":
        return applicable
    stages = stage_specs(tie.transform.steps, leaves)
    if not any(leaf.size for leaf in leaves) or not all(stage.size for stage in stages[1:]):
        return Judgement("NOT APPLICABLE", "no element follows from another")
    return _compare_specs({tie.alias: stages[-1], **dict(zip(tie.canonicals, leaves, strict=True))}, sources)


def _compare_specs(expected: Mapping[KeyPath, LeafSpec], sources: Sources) -> Judgement | None:
    found = sources.original.specs() if sources.original else expected
    for path, spec in expected.items():
        if path not in found:
            return Judgement("FAIL", f"the original has no leaf `{path.spelling}`")
        if found[path] != spec:
            return Judgement("FAIL", f"`{path.spelling}` is {found[path]} in the original, and {spec} here")
    return None


def _conclude(tie: Tie, tally: Tally, sources: Sources) -> ProbeResult:
    measure = tally.measure(TOLERANCE)
    spec = tie.transform.spec([sources.tied.specs()[path] for path in tie.canonicals])
    size = spec.size * (2 if spec.dtype.kind == "complex" else 1)
    notes = []
    if sources.original is None:
        notes.append("without the original, the untied gradients are those at the leaves that the manifest gives")
    if tally.masked:
        notes.append(f"{tally.masked:,} of {size:,} numbers are NaN or infinite on both sides and were left out")
    if tally.masked == size:
        return ProbeResult(Judgement("VACUOUS", "every element is NaN or infinite"), measure, tuple(notes))
    return ProbeResult(judge_gradients(measure, tie.canonical), measure, tuple(notes))
