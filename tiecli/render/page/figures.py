"""Figures: a histogram and a heat map for each canonical leaf whose gradients were compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tiecli.render.lines import count_of
from tiecli.render.page.heatmaps import describe_heat, draw_heat, draw_key
from tiecli.render.page.histograms import describe_spread, draw_histogram
from tiecli.render.page.markup import Markup, element, join
from tiecli.verification.verdicts import DifferencePicture, GradientMeasure, TieVerdict

MOST_FIGURES = 60
"""So many canonical leaves are drawn, those that are closest to their bound or above it."""


class _Drawn(NamedTuple):
    """A canonical leaf with what was measured there, and the aliases that share it."""

    canonical: str
    picture: DifferencePicture
    measure: GradientMeasure
    aliases: list[str]

    @property
    def badness(self) -> float:
        """How far the error is above the bound; a NaN is worst."""
        ratio = self.measure.error / self.measure.bound if self.measure.bound > 0 else 0.0
        return ratio if self.measure.holds else max(ratio, 1.0) if ratio == ratio else float("inf")


def draw_differences(ties: Sequence[TieVerdict]) -> Markup:
    """Draws how the tied gradient differs from the sum that it must be, the worst leaf first."""
    found = sorted(_gather(ties), key=lambda drawn: -drawn.badness)
    rest = len(found) - MOST_FIGURES
    more = f"{count_of(rest, 'more leaf', 'more leaves')}, closer still, not drawn." if rest > 0 else ""
    return join(
        element(
            "p",
            "The tied gradient at each canonical leaf, less the untied gradient there and what the adjoint of each "
            "transform brings back from the aliases; all in float64.",
        ),
        draw_key(),
        element("div", *map(_draw_figure, found[:MOST_FIGURES]), class_="figures"),
        *([element("p", more, class_="dim")] if more else []),
    )


def _gather(ties: Sequence[TieVerdict]) -> list[_Drawn]:
    found: dict[tuple[str, DifferencePicture], _Drawn] = {}
    for tie in ties:
        if tie.picture is not None and tie.probe is not None:
            key = (tie.canonical, tie.picture)
            found.setdefault(key, _Drawn(tie.canonical, tie.picture, tie.probe, [])).aliases.append(tie.alias)
    return list(found.values())


def _draw_figure(drawn: _Drawn) -> Markup:
    picture, measure = drawn.picture, drawn.measure
    shape = "×".join(map(str, picture.shape)) or "scalar"
    shown = ", ".join(drawn.aliases[:3]) + (f" and {len(drawn.aliases) - 3:,} more" if len(drawn.aliases) > 3 else "")
    layers = " Each cell is the largest over the axes before the last two." if len(picture.shape) > 2 else ""
    return element(
        "figure",
        element("h3", drawn.canonical),
        element("p", f"{shape}, with {shown}", class_="dim"),
        draw_histogram(picture, measure),
        draw_heat(picture, measure),
        element("figcaption", f"{describe_spread(picture, measure)}; {describe_heat(picture, measure)}.{layers}"),
    )
