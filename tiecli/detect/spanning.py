"""Spanning: which of many near pairs to look into, so that each leaf hangs on one other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tiecli.detect.near import NearPair
from tiecli.detect.preferences import Preferences
from tiecli.detect.scales import feasible_factors, gives, likely_factors
from tiecli.detect.subjects import Subject
from tiecli.detect.survey import Survey

_MOST_VOTERS = 16


def span_near(survey: Survey, preferences: Preferences, pairs: Iterable[NearPair]) -> list[NearPair]:
    """Picks pairs that connect what is near, as few as do, with the leaf to keep first.

    Args:
        survey: Samples of the leaves.
        preferences: Which leaf to keep.
        pairs: The near pairs to choose from, the closest first.
    """
    neighbours: dict[Subject, list[NearPair]] = {}
    for pair in pairs:
        neighbours.setdefault(pair.first, []).append(pair)
        neighbours.setdefault(pair.second, []).append(pair.swapped())
    reached: set[Subject] = set()
    kept: list[NearPair] = []
    for start in neighbours:
        if start not in reached:
            root = _choose_root(survey, preferences, _reach(start, neighbours), neighbours)
            tree = list(_reach_from(root, neighbours))
            kept += tree
            reached.update((root, *(pair.second for pair in tree)))
    return kept


def _reach(start: Subject, neighbours: dict[Subject, list[NearPair]]) -> list[Subject]:
    return [start, *(pair.second for pair in _reach_from(start, neighbours))]


def _reach_from(root: Subject, neighbours: dict[Subject, list[NearPair]]) -> Iterator[NearPair]:
    """Walks away from a leaf, nearest ones first, over each other leaf once."""
    reached, border = {root}, [root]
    for leaf in border:
        for pair in neighbours[leaf]:
            if pair.second not in reached:
                reached.add(pair.second)
                border.append(pair.second)
                yield pair


def _choose_root(
    survey: Survey,
    preferences: Preferences,
    component: list[Subject],
    neighbours: dict[Subject, list[NearPair]],
) -> Subject:
    """Picks the leaf that the others may follow from: of the widest dtype, and with most of them multiples of it."""
    widest = max(leaf.spec.dtype.bits for leaf in component)
    wide = sorted((leaf for leaf in component if leaf.spec.dtype.bits == widest), key=lambda leaf: leaf.place)
    if 2 < len(component) <= _MOST_VOTERS:
        # A product is rounded, so that of several multiples only the first leaf gives all others exactly.
        votes = {leaf: sum(_is_multiple(survey, pair) for pair in neighbours[leaf]) for leaf in wide}
        wide = [leaf for leaf in wide if votes[leaf] == max(votes.values())]
    return preferences.choose_among(wide)


def _is_multiple(survey: Survey, pair: NearPair) -> bool:
    dtype = pair.first.spec.dtype
    if pair.second.spec.dtype != dtype:
        return False
    first = survey.samples.rows(pair.first.path)[pair.first_order]
    second = survey.samples.rows(pair.second.path)[pair.second_order]
    bounds = feasible_factors(first, second, dtype)
    if bounds is None:
        return False
    return any(gives(factor, first, second, dtype) for factor in likely_factors(bounds, pair.first.spec.shape, dtype))
