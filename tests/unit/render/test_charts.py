"""`tiecli/render/page/`: what the charts draw, and what is told as one."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.render.verdict_reports import GOOD, make_tie, paint
from tiecli.render.page.bundles import bundle_ties, fold_names
from tiecli.render.page.curves import draw_trajectory
from tiecli.render.page.heatmaps import describe_heat, draw_heat
from tiecli.render.page.histograms import describe_spread, draw_histogram
from tiecli.render.page.tiegraph import MOST_BUNDLES, draw_graph
from tiecli.verification.verdicts import DifferencePicture, GradientMeasure, Trajectory

ODD_MEASURES = [
    GradientMeasure(0.0, 0.0, 0.0, 0.0),
    GradientMeasure(math.nan, 1e-12, 1.0, 1.0),
    GradientMeasure(math.inf, math.inf, math.inf, 1.0),
    GradientMeasure(1e300, math.nan, 1.0, 1.0),
    GradientMeasure(5e-324, 5e-324, 5e-324, 5e-324),
    GradientMeasure(1e308, 1e-300, 1.0, 1.0),
]
ODD_PICTURES = [
    DifferencePicture((), (), 1, 0, ((0.0,),)),
    DifferencePicture((0, 4), (), 0, 0, ()),
    DifferencePicture((2,), (), 0, 2, ((math.inf, math.inf),)),
    DifferencePicture((3,), ((-1074, 1), (0, 1), (1023, 1)), 0, 0, ((5e-324, 1.0, 1.7e308),)),
    paint(1),
]


@pytest.mark.parametrize("picture", ODD_PICTURES)
@pytest.mark.parametrize("measure", ODD_MEASURES)
def test_whatever_was_measured_can_be_drawn(picture: DifferencePicture, measure: GradientMeasure) -> None:
    """Zero, infinite and undefined figures give a chart in which every number is one."""
    drawn = draw_histogram(picture, measure) + draw_heat(picture, measure)

    numbers = re.findall(r' (?:[xy][12]?|width|height)="([^"]*)"', drawn)
    assert all(math.isfinite(float(number)) for number in numbers)
    assert drawn.count('class="bar') == len(picture.histogram) + bool(picture.equal) + bool(picture.undefined)


def test_only_what_is_above_the_bound_is_marked() -> None:
    """Where the bound runs through an octave, its elements are above it only if the error is."""
    picture = DifferencePicture((9,), ((-3, 2), (-2, 3), (-1, 4)), 0, 0, ((0.5,) * 9,))

    assert describe_spread(picture, GradientMeasure(0.9, 0.9, 1.0, 1.0)) == "0 of 9 elements equal, 9 within the bound"
    over = GradientMeasure(0.9, 0.3, 1.0, 1.0)
    assert describe_spread(picture, over) == "0 of 9 elements equal, 2 within the bound, 7 above it"
    assert draw_histogram(picture, over).count('class="bar over"') == 2
    nothing = describe_spread(picture, GradientMeasure(0.9, 0.0, 1.0, 1.0))
    assert nothing == "0 of 9 elements equal, 9 above the bound"


def test_a_heat_map_covers_every_cell_once() -> None:
    """The runs of all levels fill the grid."""
    picture = paint(3, shape=(40, 70))

    runs = re.findall(r"M(\d+) (\d+)h(\d+)v1", draw_heat(picture, GOOD))
    cells = [(int(x) + step, int(y)) for x, y, length in runs for step in range(int(length))]
    assert sorted(cells) == sorted((x, y) for y in range(32) for x in range(48))


def test_the_hottest_place_is_named_by_the_leafs_own_indices() -> None:
    """Whatever the grid made of them."""
    heat = ((0.0,) * 48,) * 31 + ((0.0,) * 47 + (0.5,),)
    picture = DifferencePicture((2, 50257, 768), ((-1, 1),), 7, 0, heat)

    assert describe_heat(picture, GradientMeasure(0.5, 1.0, 1.0, 1.0)) == (
        "largest in rows 48687–50256, columns 752–767: 5.0e-01, 0.5 of the bound"
    )


def test_ninety_six_aliases_of_one_leaf_are_one_bundle() -> None:
    """Their names differ in a number."""
    ties = [make_tie(f"h.{layer}.w", "h.0.w") for layer in range(1, 97)]

    (bundle,) = bundle_ties(ties)
    assert (bundle.canonical, bundle.alias, len(bundle.ties)) == ("h.0.w", "h.{1..96}.w", 96)
    assert "h.{1..96}.w ×96" in draw_graph(ties).replace("  ×", " ×")


def test_pairs_are_one_bundle_but_what_fails_stands_alone() -> None:
    """A verdict of its own is never folded away."""
    ties = [make_tie(f"b.{at}", f"a.{at}", "FAIL" if at == 7 else "PASS") for at in range(20)]

    found = [(bundle.canonical, bundle.alias, bundle.verdict) for bundle in bundle_ties(ties)]
    assert found == [("a.{0..6,8..19}", "b.{0..6,8..19}", "PASS"), ("a.7", "b.7", "FAIL")]


def test_groups_of_one_pattern_stay_apart() -> None:
    """Of two canonical leaves with several aliases each, one sees which follows from which."""
    ties = [make_tie(f"h.{at}.w", f"group.{at // 3}.w") for at in range(6)]

    found = [(bundle.canonical, bundle.alias) for bundle in bundle_ties(ties)]
    assert found == [("group.0.w", "h.{0..2}.w"), ("group.1.w", "h.{3..5}.w")]


@given(st.lists(st.tuples(st.text("a#1٣.{", max_size=5), st.text("a#1٣0.", max_size=5)), max_size=12))
def test_every_tie_is_in_one_bundle(names: list[tuple[str, str]]) -> None:
    """Whatever the names are."""
    ties = [make_tie(alias, canonical) for alias, canonical in names]

    assert sorted(index for bundle in bundle_ties(ties) for index in bundle.ties) == list(range(len(ties)))


def test_very_long_numbers_are_text() -> None:
    """A name of ten thousand digits is no layer."""
    long = "9" * 10_000

    assert fold_names([f"h.{long}", "h.1"]) == f"h.{{{long},1}}"


def test_what_did_not_pass_is_drawn_first() -> None:
    """Of hundreds of leaves that are all unlike."""
    letters = [chr(0x4E00 + at) for at in range(300)]
    ties = [make_tie(f"{one}.b", f"{one}.a", "FAIL" if at > 290 else "PASS") for at, one in enumerate(letters)]

    drawn = draw_graph(ties)
    assert drawn.count('class="edge fail"') == 9
    assert drawn.count('class="edge pass"') == MOST_BUNDLES - 9
    assert "220 more ties, all in the table above, not drawn." in drawn


@pytest.mark.parametrize(
    "apart", [(), (0.0,), (math.nan, 0.0), (math.inf, 1e-300), (0.0, 0.0), tuple(1e-16 for _ in range(500))]
)
def test_every_trajectory_can_be_drawn(apart: tuple[float, ...]) -> None:
    """None at all, none apart, or far beyond measure."""
    drawn = draw_trajectory(Trajectory("sgd", len(apart), apart, apart, holds=True))

    points = re.findall(r"[\d.na]+(?=[, \"])", "".join(re.findall(r'points="[^"]*"', drawn)))
    assert len(points) == 4 * len(apart)
    assert all(math.isfinite(float(point)) for point in points)
