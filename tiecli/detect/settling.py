"""Settling near pairs: one is a multiple of the other, or the two have drifted apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tiecli.boxes import split_boxes
from tiecli.compare.blockwise import LeafSource
from tiecli.compare.differences import Bits, as_bits, decode
from tiecli.detect.hits import HitKind
from tiecli.detect.near import NearPair, are_near
from tiecli.detect.probes import whole_indices
from tiecli.detect.proofs import Candidate, Outcome, compare_pair
from tiecli.detect.scales import Interval, feasible_factors, gives, likely_factors, slope
from tiecli.detect.subjects import Order, Subject, alignment, axis_orders, core_shape
from tiecli.detect.survey import Survey
from tiecli.transforms import Step, Transform
from tiecli.transforms.steps import Cast, Scale

_MORE_SAMPLES = 1024


@dataclass(frozen=True, slots=True)
class _Lineup:
    """Two near leaves, with the way their axes line up, and more samples of each."""

    canonical: Subject
    alias: Subject
    canonical_order: Order
    alias_order: Order
    canonical_bits: Bits
    alias_bits: Bits

    def reversed(self) -> _Lineup:
        """The same with the other leaf as the canonical one: rounding goes one way only."""
        return _Lineup(
            self.alias,
            self.canonical,
            self.alias_order,
            self.canonical_order,
            self.alias_bits,
            self.canonical_bits,
        )

    def transform(self, *then: Step) -> Transform:
        """Gives the transform that lines the two up, with steps added."""
        return alignment(self.canonical, self.alias, self.alias_order, then, self.canonical_order)


def settle_near(survey: Survey, pair: NearPair) -> Outcome | None:
    """Finds out what two near leaves are to each other; None if more samples show them not to be near.

    The first is kept, unless the second is of a wider dtype, or only the second gives the other exactly.
    """
    lineup = _line_up(survey, pair)
    canonical, alias = lineup.canonical.spec.dtype, lineup.alias.spec.dtype
    values = decode(lineup.canonical_bits, canonical), decode(lineup.alias_bits, alias)
    if not are_near(*values):
        return None
    if canonical == alias:
        exact = _settle_scale(survey, lineup) or _settle_scale(survey, lineup.reversed())
        if exact is not None:
            return exact
    if len(core_shape(lineup.alias.spec.shape)) < 2:
        # Vectors of one model resemble each other without ever having been one.
        return None
    factor = slope(*values)
    steps: tuple[Step, ...] = () if factor == 1 else (Scale(factor),)
    if canonical != alias:
        steps = (*steps, Cast(alias))
    candidate = _candidate(lineup, "drifted", lineup.transform(*steps))
    drift = compare_pair(survey.samples, candidate, candidate.transforms[0], measure=True)
    return Outcome(candidate, (), drift)


def _line_up(survey: Survey, pair: NearPair) -> _Lineup:
    if pair.first.spec.dtype.bits < pair.second.spec.dtype.bits:
        pair = pair.swapped()
    canonical_order, canonical_bits = _sample_more(survey, pair.first, pair.first_order)
    alias_order, alias_bits = _sample_more(survey, pair.second, pair.second_order)
    return _Lineup(pair.first, pair.second, canonical_order, alias_order, canonical_bits, alias_bits)


def _sample_more(survey: Survey, subject: Subject, number: int) -> tuple[Order, Bits]:
    shape = subject.spec.shape
    places = whole_indices(shape, _MORE_SAMPLES)[number]
    return axis_orders(shape)[number], survey.samples.read_places(subject.path, subject.spec, places)


def _candidate(lineup: _Lineup, kind: HitKind, transform: Transform) -> Candidate:
    return Candidate(kind, lineup.canonical, lineup.alias, (transform,))


def _settle_scale(survey: Survey, lineup: _Lineup) -> Outcome | None:
    """Looks for a constant that gives every element exactly: by samples first, then by ever more of the leaf."""
    dtype, shape = lineup.alias.spec.dtype, lineup.alias.spec.shape
    bounds = feasible_factors(lineup.canonical_bits, lineup.alias_bits, dtype)
    refined = _refine(survey, lineup, bounds) if bounds else iter(())
    while bounds is not None:
        for factor in likely_factors(bounds, shape, dtype):
            if factor == 1 or not gives(factor, lineup.canonical_bits, lineup.alias_bits, dtype):
                continue
            candidate = _candidate(lineup, "scaled", lineup.transform(Scale(factor)))
            if compare_pair(survey.samples, candidate, candidate.transforms[0], measure=False).equal:
                return Outcome(candidate, candidate.transforms)
        bounds = next(refined, None)
    return None


def _refine(survey: Survey, lineup: _Lineup, bounds: Interval) -> Iterator[Interval]:
    """Narrows the bounds down by one block of the leaf, then by all of it; ends early if nothing is left."""
    from tiecli.transforms.blocks import evaluate_block

    reader, spec = survey.samples.reader, lineup.alias.spec
    transform = lineup.transform()
    source = LeafSource(reader, lineup.canonical.path)
    low, high = bounds
    for number, box in enumerate(split_boxes(spec)):
        left = reader.read_block(lineup.alias.path, box)
        right = evaluate_block(transform, [source], box)
        survey.samples.count(2 * left.nbytes)
        found = feasible_factors(as_bits(right), as_bits(left), spec.dtype)
        if found is None:
            return
        low, high = max(low, found[0]), min(high, found[1])
        if low > high:
            return
        if number == 0:
            yield low, high
    yield low, high
