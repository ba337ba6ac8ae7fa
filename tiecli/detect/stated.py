"""Stated pairs: what became of the ties that a checkpoint declares, or that names suggest."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from tiecli.compare.differences import decode
from tiecli.detect.hits import HitKind
from tiecli.detect.preferences import Pair, Preferences
from tiecli.detect.proofs import Candidate, Outcome, prove
from tiecli.detect.subjects import Subject, alignment, axis_orders, make_transform
from tiecli.detect.survey import MOST_ROWS, Survey, can_be_turned, family_of
from tiecli.detect.threads import run_in_pairs
from tiecli.keypaths import KeyPath
from tiecli.transforms import SAME, Step, Transform
from tiecli.transforms.steps import Cast, Pad, Range, Slice

LEAST_RESEMBLANCE = 0.5
"""Correlation of 64 samples; unrelated leaves stay below it but once in ten thousand pairs."""


def prove_stated(
    survey: Survey,
    preferences: Preferences,
    declared: Collection[Pair],
    connects: Callable[[KeyPath, KeyPath], bool],
) -> list[Outcome]:
    """Compares the stated pairs that nothing has connected yet.

    Declared pairs are told of however far apart they are. Pairs that names alone suggest
    have drifted only if they still resemble each other: most models that store both
    embedding and head never tied them.

    Args:
        survey: Samples of the leaves.
        preferences: Knows the pairs.
        declared: Those of them that a checkpoint declares.
        connects: Whether two leaves hang together already.
    """
    candidates = []
    for pair in preferences.stated:
        leaves = tuple(survey.subjects.get(path) for path in pair)
        if None in leaves or pair[0] == pair[1] or connects(*pair):
            continue
        if pair not in declared and set(pair) <= survey.samples.constant:
            continue
        canonical, alias = survey.subjects[pair[0]], survey.subjects[pair[1]]
        transforms, alike = _fitting_shapes(survey, canonical, alias)
        if transforms and (alike or pair in declared):
            candidates.append(Candidate("drifted", canonical, alias, transforms))
    return run_in_pairs(lambda candidate: _with_kind(prove(survey.samples, candidate)), candidates)


def _with_kind(outcome: Outcome) -> Outcome:
    candidate = outcome.candidate
    if not outcome.fits:
        return outcome
    steps = outcome.fits[0].steps
    kind: HitKind = "transposed" if steps else "identical"
    if any(isinstance(step, Cast) for step in steps):
        kind = "cast"
    elif any(isinstance(step, Slice | Pad) for step in steps):
        kind = "prefix"
    return Outcome(Candidate(kind, candidate.canonical, candidate.alias, candidate.transforms), outcome.fits)


def _fitting_shapes(survey: Survey, canonical: Subject, alias: Subject) -> tuple[tuple[Transform, ...], bool]:
    """Lists the transforms that take one spec to the other, the one that fits the samples best first.

    Returns:
        The transforms, and whether under the first of them the leaves go up and down together.
    """
    source, spec = canonical.spec, alias.spec
    if family_of(source) != family_of(spec):
        return _fitting_prefix(canonical, alias), _resembles_prefix(survey, canonical, alias)
    if not can_be_turned(spec):
        return (SAME,), True
    then: tuple[Step, ...] = ()
    if source.dtype != spec.dtype:
        if {source.dtype.kind, spec.dtype.kind} != {"float"}:
            return (), False
        then = (Cast(spec.dtype),)
    wanted = decode(survey.samples.section(canonical.path, ("whole",))[0], source.dtype)
    rows = survey.samples.section(alias.path, ("whole",))
    found: dict[Transform, np.ndarray] = {}
    for order, row in zip(axis_orders(spec.shape), rows, strict=True):
        found.setdefault(alignment(canonical, alias, order, then), decode(row, spec.dtype))
    distances = {transform: _distance(wanted, values) for transform, values in found.items()}
    least = min(distances.values())
    best = sorted(distances, key=lambda transform: (distances[transform], not transform.is_same))
    fitting = tuple(transform for transform in best if distances[transform] == least)
    return fitting, _resembles(wanted, found[best[0]])


def _fitting_prefix(canonical: Subject, alias: Subject) -> tuple[Transform, ...]:
    source, spec = canonical.spec, alias.spec
    if source.dtype != spec.dtype or not source.shape or not can_be_turned(source):
        return ()
    if len(source.shape) != len(spec.shape) or source.shape[1:] != spec.shape[1:]:
        return ()
    rows, wanted = source.shape[0], spec.shape[0]
    step: Step = Slice((Range(stop=wanted),)) if wanted < rows else Pad(0, 0, wanted - rows)
    return (make_transform((step,)),)


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        apart = np.abs(first.astype(np.complex128) - second.astype(np.complex128))
    return float(np.nan_to_num(apart, nan=1e300, posinf=1e300).mean())


def _resembles_prefix(survey: Survey, canonical: Subject, alias: Subject) -> bool:
    section = ("prefix", 0, min(canonical.spec.shape[:1] + alias.spec.shape[:1] + (MOST_ROWS,)))
    if not all(survey.samples.has(leaf.path, section) for leaf in (canonical, alias)):
        return True
    first, second = (decode(survey.samples.section(leaf.path, section), leaf.spec.dtype) for leaf in (canonical, alias))
    return _resembles(first, second)


def _resembles(first: np.ndarray, second: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        x, y = first - np.mean(first), second - np.mean(second)
        together = np.abs(np.vdot(x, y)) / np.sqrt(np.vdot(x, x).real * np.vdot(y, y).real)
    # Constant or non-finite samples say nothing, and then the pair is told of.
    return not together < LEAST_RESEMBLANCE
