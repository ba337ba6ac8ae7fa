"""Finding: planted copies are found, what is found is true, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings

from tests.property.strategies_find import Planted, planted
from tests.unit.detect.leaves_on_disk import store
from tiecli.detect import FindReport, find_ties
from tiecli.ties import TieSet
from tiecli.transforms.arrays import forward


def search(checkpoint: Planted) -> FindReport:
    """Stores a checkpoint and searches it."""
    with TemporaryDirectory() as directory, store(Path(directory) / "m.safetensors", checkpoint.leaves) as reader:
        return find_ties(reader)


@settings(max_examples=150, deadline=None)
@given(planted())
def test_every_fit_is_exact(checkpoint: Planted) -> None:
    """Whatever a hit says fits gives the alias bit for bit; what is called drifted does not."""
    for hit in search(checkpoint).hits:
        alias, canonical = checkpoint.leaves[hit.alias.spelling], checkpoint.leaves[hit.canonical.spelling]
        made = [forward(transform, [canonical]) for transform in hit.fits or (hit.transform,)]

        assert hit.spec == hit.transform.spec([_spec(canonical)])
        assert all((array.tobytes() == alias.tobytes()) == (hit.kind != "drifted") for array in made)


@settings(max_examples=150, deadline=None)
@given(planted())
def test_planted_copies_hang_together_and_nothing_else(checkpoint: Planted) -> None:
    """Hits connect exactly the leaves that were planted together, with one hit for each leaf but the first."""
    report = search(checkpoint)
    together = {frozenset(group) for group in checkpoint.groups}
    found: dict[str, set[str]] = {}
    for hit in report.hits:
        joined = {hit.alias.spelling, hit.canonical.spelling}
        for name in tuple(joined):
            joined |= found.get(name, set())
        found.update(dict.fromkeys(joined, joined))

    assert {frozenset(group) for group in found.values()} == together
    assert len(report.hits) == sum(len(group) - 1 for group in together)


@settings(max_examples=100, deadline=None)
@given(planted())
def test_exact_copies_are_never_called_drifted(checkpoint: Planted) -> None:
    """A leaf is called drifted only where its group holds one that is."""
    suspects = set().union(*[group for group in checkpoint.groups if group & checkpoint.drifted.keys()])

    assert {hit.alias.spelling for hit in search(checkpoint).hits if hit.kind == "drifted"} <= suspects


@settings(max_examples=60, deadline=None)
@given(planted())
def test_hits_make_a_tie_set(checkpoint: Planted) -> None:
    """All hits together can be tied: no leaf follows twice, none from itself, no cycle."""
    report = search(checkpoint)

    assert len(TieSet(tuple(hit.tie for hit in report.hits))) == len(report.hits)


def _spec(leaf: np.ndarray) -> object:
    from tiecli.transforms.arrays import array_spec

    return array_spec(leaf)
