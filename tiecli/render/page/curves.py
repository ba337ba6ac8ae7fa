"""Curves: how far two ways of training drift apart, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from tiecli.render.page.markup import Markup, element
from tiecli.render.page.numbers import power_of_ten
from tiecli.verification.verdicts import Trajectory

_WIDTH, _HEIGHT = 640.0, 260.0
_LEFT, _RIGHT, _TOP, _BASE = 58.0, 500.0, 14.0, 216.0
_GAP = 18.0


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a step stands, and a distance; what is zero or not finite stands at an edge."""

    steps: int
    low: int
    high: int

    def across(self, step: int) -> float:
        """Places a step."""
        """How far to the right a step stands."""
        return _LEFT + (_RIGHT - _LEFT) * step / max(self.steps, 1)

    def down(self, decade: float) -> float:
        """Places a power of ten."""
        return _BASE - _GAP - (decade - self.low) / (self.high - self.low) * (_BASE - _TOP - _GAP)

    def up(self, distance: float) -> float:
        """Places a distance."""
        if distance == 0:
            return _BASE
        return self.down(log10(distance)) if isfinite(distance) else _TOP


def draw_trajectory(trajectory: Trajectory) -> Markup:
    """Draws how far tied training lies apart from untied, with summed gradients and naively."""
    every = [*trajectory.tied_apart, *trajectory.naive_apart]
    decades = [log10(distance) for distance in every if distance > 0 and isfinite(distance)]
    low = floor(min(decades, default=-16))
    scale = _Scale(max(trajectory.steps, 1), low, max(ceil(max(decades, default=0)), low + 1))
    return element(
        "svg",
        element("title", "How far the parameters lie apart from tied training"),
        element("desc", describe_trajectory(trajectory)),
        *_axes(scale),
        *_curve(scale, trajectory.naive_apart, "naive", "untied, naively"),
        *_curve(scale, trajectory.tied_apart, "tied", "untied, summed"),
        class_="curves",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
    )


def describe_trajectory(trajectory: Trajectory) -> str:
    """Says in words how training went on.

    Example:
        >>> describe_trajectory(Trajectory("sgd", 2, (0.0, 1e-16), (1e-3, 2e-3), True))
        'after 2 steps of sgd: with summed gradients 1.0e-16 apart at most, naively 2.0e-03'
    """
    apart, naive = (max(distances, default=0.0) for distances in (trajectory.tied_apart, trajectory.naive_apart))
    return (
        f"after {trajectory.steps} steps of {trajectory.optimizer}: "
        f"with summed gradients {apart:.1e} apart at most, naively {naive:.1e}"
    )


def _axes(scale: _Scale) -> Iterator[Markup]:
    for decade in range(scale.low, scale.high + 1, ceil((scale.high - scale.low) / 6)):
        y = scale.down(decade)
        yield element("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=y, y2=y)
        yield _label(power_of_ten(decade), _LEFT - 6, y + 4, "end")
    yield element("line", class_="axis", x1=_LEFT, x2=_RIGHT, y1=_BASE, y2=_BASE)
    yield _label("0", _LEFT - 6, _BASE + 4, "end")
    for step in sorted({0, scale.steps // 2, scale.steps}):
        yield _label(str(step), scale.across(step), _BASE + 16)
    yield _label("step", (_LEFT + _RIGHT) / 2, _HEIGHT - 8)


def _curve(scale: _Scale, distances: Sequence[float], kind: str, name: str) -> Iterator[Markup]:
    if not distances:
        return
    places = [(scale.across(step), scale.up(distance)) for step, distance in enumerate(distances, start=1)]
    yield element("polyline", class_=f"curve {kind}", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    x, y = places[-1]
    yield element("circle", class_=f"dot {kind}", cx=x, cy=y, r=3)
    yield _label(name, x + 8, y + 4, "start")


def _label(text: str, x: float, y: float, anchor: str = "middle") -> Markup:
    return element("text", text, class_="tick", x=x, y=y, text_anchor=anchor)
