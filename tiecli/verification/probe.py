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

from collections.abc import Mapping
from dataclasses import dataclass

from tiecli.checkpoints.protocol import Progress, ignore_progress
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.ties import Tie
from tiecli.transforms.shapes import stage_specs
from tiecli.verification.devices import Device
from tiecli.verification.groups import TieGroup
from tiecli.verification.loading import Sources
from tiecli.verification.measuring import Tally, measure_jobs, tile_size
from tiecli.verification.verdicts import GradientMeasure, Judgement
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
    """

    judgement: Judgement
    measure: GradientMeasure | None = None
    notes: tuple[str, ...] = ()


def probe_group(
    group: TieGroup, sources: Sources, device: Device, progress: Progress = ignore_progress
) -> Mapping[KeyPath, ProbeResult]:
    """Puts the gradients of every tie of a group to the test.

    Args:
        group: The ties.
        sources: Where the leaves are read.
        device: Where gradients are computed.
        progress: Told how many more bytes of aliases have been dealt with.

    Returns:
        For each alias, what was found.

    Raises:
        TransformMismatchError: A transform does not fit.
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    specs = sources.tied.specs()
    refusals = {tie.alias: _refuse(tie, sources) for tie in group.ties}
    ties = [tie for tie in group.ties if refusals[tie.alias] is None]
    tallies = {tie.alias: Tally() for tie in ties}
    size = tile_size(device, max((specs[path].size for tie in ties for path in tie.canonicals), default=0))
    for job, row in measure_jobs(list_jobs(ties, specs, size, wide=device.platform != "tpu"), sources, device):
        tallies[job.tie.alias].add(job, row)
        progress(job.nbytes)
    return {
        tie.alias: ProbeResult(refusal)
        if (refusal := refusals[tie.alias])
        else _conclude(tie, tallies[tie.alias], sources)
        for tie in group.ties
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
    stages = stage_specs(tie.transform.steps, leaves)
    if plain := [stage for stage in (*leaves, *stages) if stage.dtype.kind not in ("float", "complex")]:
        return Judgement("NOT APPLICABLE", f"{plain[0].dtype} has no gradient")
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
