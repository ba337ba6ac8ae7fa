"""Proofs: comparing the whole leaves of what the samples suggest."""

from __future__ import annotations

from dataclasses import dataclass

from tiecli.compare import Comparison, compare_leaf
from tiecli.detect.hits import HitKind
from tiecli.detect.probes import Samples
from tiecli.detect.subjects import Subject
from tiecli.transforms import Transform


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tie that the samples suggest.

    Attributes:
        kind: What it would be, if it fits one transform only.
        canonical: The leaf to keep, or the layer of it.
        alias: The leaf that would follow.
        transforms: Those that fit the samples, the plainest first.
    """

    kind: HitKind
    canonical: Subject
    alias: Subject
    transforms: tuple[Transform, ...]

    @property
    def nbytes(self) -> int:
        """How much there is to compare."""
        return self.alias.spec.nbytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the whole leaves said.

    Attributes:
        candidate: What was suggested.
        fits: The transforms that fit bit for bit.
        drift: How far apart the two are under the first transform, if none fits.
    """

    candidate: Candidate
    fits: tuple[Transform, ...]
    drift: Comparison | None = None

    @property
    def is_near(self) -> bool:
        """Whether most elements are the same, though not all."""
        return self.drift is not None and self.drift.differing * 2 < self.drift.size


def prove(samples: Samples, candidate: Candidate) -> Outcome:
    """Finds out which of the suggested transforms fit, or how far off the first one is."""
    first, *others = candidate.transforms
    comparison = compare_pair(samples, candidate, first, measure=True)
    fits = [first] if comparison.equal else []
    fits += [other for other in others if compare_pair(samples, candidate, other, measure=False).equal]
    return Outcome(candidate, tuple(fits), None if fits else comparison)


def compare_pair(samples: Samples, candidate: Candidate, transform: Transform, *, measure: bool) -> Comparison:
    """Compares two whole leaves, and counts what that reads."""
    canonical, alias = candidate.canonical, candidate.alias
    paths = tuple(samples.stand_in(leaf.path) for leaf in (alias, canonical))
    comparison = compare_leaf(
        samples.reader,
        paths[0],
        samples.reader,
        paths[1:],
        transform,
        measure=measure,
    )
    if comparison.complete and (paths[0] != paths[1] or not transform.is_same):
        is_whole = canonical.layer is None and canonical.spec.size <= alias.spec.size
        read = min(canonical.spec.size, alias.spec.size) * canonical.spec.dtype.bits // 8
        samples.count(alias.spec.nbytes + read, alias.path, *([canonical.path] if is_whole else []))
    return comparison
