"""Histograms: how many elements of two gradients differ, and by how much of what they may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from tiecli.render.lines import count_of
from tiecli.render.page.markup import Markup, element
from tiecli.render.page.numbers import power_of_ten
from tiecli.verification.verdicts import DifferencePicture, GradientMeasure

_WIDTH, _HEIGHT, _BASE, _TOP = 440.0, 190.0, 150.0, 18.0
_LEFT, _RIGHT, _ASIDE = 46.0, 422.0, 48.0
_OCTAVE = log10(2)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a decade of the ratio to the bound stands, and how high a count is."""

    low: float
    high: float
    start: float
    stop: float
    tallest: int

    def place(self, decade: float) -> float:
        """Places a power of ten."""
        """How far to the right a decade stands."""
        return self.start + (decade - self.low) / (self.high - self.low) * (self.stop - self.start)

    def height(self, count: float) -> float:
        """Says how high the bar of a count is."""
        # One element is to be seen, too.
        return (log10(count) + 0.4) / (log10(self.tallest) + 0.4) * (_BASE - _TOP)


def draw_histogram(picture: DifferencePicture, measure: GradientMeasure) -> Markup:
    """Draws how many elements differ by how much of the bound; both axes are logarithmic."""
    unit = log10(measure.bound) if isfinite(measure.bound) and measure.bound > 0 else 0.0
    octaves = [(exponent, exponent * _OCTAVE - unit, count) for exponent, count in picture.histogram]
    scale = _Scale(
        low=floor(min([-3.0, *(at for _, at, _ in octaves)])),
        high=ceil(max([1.0, *(at + _OCTAVE for _, at, _ in octaves)])),
        # Elements that are equal, or not finite, have no place on a logarithmic axis.
        start=_LEFT + _ASIDE,
        stop=_RIGHT - (_ASIDE if picture.undefined else 0),
        tallest=max(1, picture.equal, picture.undefined, *(count for _, _, count in octaves)),
    )
    bars = [
        _bar(scale, scale.place(at), scale.place(at + _OCTAVE), count, f"{2.0**exponent:.1e} or more", over=over)
        for exponent, at, count in octaves
        for over in [is_over(exponent, measure)]
    ]
    if picture.equal:
        bars.append(_bar(scale, _LEFT + 6, _LEFT + 22, picture.equal, "equal"))
    if picture.undefined:
        bars.append(_bar(scale, scale.stop + 24, scale.stop + 40, picture.undefined, "not finite", over=True))
        bars.append(_label("NaN", scale.stop + 32, _BASE + 14))
    return element(
        "svg",
        element("title", "Histogram of the gradient's difference"),
        element("desc", describe_spread(picture, measure)),
        *_count_axis(scale),
        *_decade_axis(scale),
        *bars,
        element("line", class_="bound", x1=scale.place(0), x2=scale.place(0), y1=4.0, y2=_BASE),
        _label("bound", scale.place(0) - 4, 12.0, "end"),
        _label("difference / bound", (scale.start + scale.stop) / 2, _HEIGHT - 6),
        class_="histogram",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
    )


def describe_spread(picture: DifferencePicture, measure: GradientMeasure) -> str:
    """Says in words what the histogram shows.

    Example:
        >>> describe_spread(DifferencePicture((4,), ((-60, 3),), 1, 0, ()), GradientMeasure(1e-18, 1e-15, 1.0, 1.0))
        '1 of 4 elements equal, 3 within the bound'
    """
    over = sum(count for exponent, count in picture.histogram if is_over(exponent, measure))
    within = sum(count for _, count in picture.histogram) - over
    parts = [
        f"{picture.equal:,} of {count_of(picture.equal + within + over + picture.undefined, 'element')} equal",
        *([f"{within:,} within the bound"] if within else []),
        *([f"{over:,} above {'it' if within else 'the bound'}"] if over else []),
        *([f"{picture.undefined:,} not finite"] if picture.undefined else []),
    ]
    return ", ".join(parts)


def is_over(exponent: int, measure: GradientMeasure) -> bool:
    """Whether the elements of an octave lie above the bound; where it runs through the octave, some may not."""
    # Twice the largest float is none.
    return not measure.holds and 2.0**exponent > measure.bound / 2


def _bar(scale: _Scale, left: float, right: float, count: int, label: str, *, over: bool = False) -> Markup:
    height = scale.height(count)
    return element(
        "rect",
        element("title", f"{label}: {count_of(count, 'element')}"),
        class_="bar over" if over else "bar",
        x=left,
        y=_BASE - height,
        width=max(right - left - 0.8, 0.8),
        height=height,
    )


def _count_axis(scale: _Scale) -> Iterator[Markup]:
    """Yields a line and a number for 1, 10, 100, …, or for some of them."""
    decades = int(log10(scale.tallest))
    for decade in range(0, decades + 1, ceil((decades + 1) / 5)):
        y = _BASE - scale.height(10.0**decade)
        yield element("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=y, y2=y)
        yield _label(f"{10**decade:,}" if decade < 4 else power_of_ten(decade), _LEFT - 5, y + 4, "end")


def _decade_axis(scale: _Scale) -> Iterator[Markup]:
    yield element("line", class_="axis", x1=_LEFT, x2=_RIGHT, y1=_BASE, y2=_BASE)
    yield _label("0", _LEFT + 14, _BASE + 14)
    every = ceil((scale.high - scale.low) / 7)
    for decade in range(ceil(scale.low / every) * every, int(scale.high) + 1, every):
        yield element("line", class_="axis", x1=scale.place(decade), x2=scale.place(decade), y1=_BASE, y2=_BASE + 4)
        yield _label(power_of_ten(decade), scale.place(decade), _BASE + 16)


def _label(text: str, x: float, y: float, anchor: str = "middle") -> Markup:
    return element("text", text, class_="tick", x=x, y=y, text_anchor=anchor)
