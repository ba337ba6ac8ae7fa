"""Heat maps: where in a leaf two gradients differ, and by how much of what they may."""

from __future__ import annotations

from itertools import groupby
from math import inf, isfinite

from tiecli.render.page.markup import Markup, element
from tiecli.verification.verdicts import DifferencePicture, GradientMeasure

LEVELS: tuple[tuple[str, float], ...] = (
    ("equal", 0.0),
    ("up to 1/1000 of the bound", 1e-3),
    ("1/100", 1e-2),
    ("1/10", 1e-1),
    ("the bound", 1.0),
    ("above the bound", inf),
    ("not finite", inf),
)
"""The levels of a cell, each with the largest ratio to the bound that belongs to it."""

_WIDTH, _HEIGHT, _SIDE = 440.0, 230.0, 18.0


def draw_heat(picture: DifferencePicture, measure: GradientMeasure) -> Markup:
    """Draws where in the leaf the gradients differ, and by how much of the bound."""
    rows, columns = len(picture.heat), max(map(len, picture.heat), default=0)
    runs: dict[int, list[str]] = {}
    for y, row in enumerate(picture.heat):
        x = 0
        for level, cells in groupby(row, key=lambda value: find_level(value, measure)):
            length = len(list(cells))
            # One path a level, one piece of it a run: a page with hundreds of maps stays small.
            runs.setdefault(level, []).append(f"M{x} {y}h{length}v1h-{length}z")
            x += length
    return element(
        "svg",
        element("title", "Heat map of the gradient's difference"),
        element("desc", describe_heat(picture, measure)),
        *(element("path", class_=f"heat{level}", d="".join(parts)) for level, parts in sorted(runs.items())),
        class_="heat",
        viewBox=f"0 0 {columns} {rows}",
        preserveAspectRatio="none",
        role="img",
        width=columns * min(_SIDE, _WIDTH / max(columns, 1)),
        height=rows * min(_SIDE, _HEIGHT / max(rows, 1)),
    )


def draw_key() -> Markup:
    """Draws what the colours of the heat maps mean."""
    items = []
    for level, (label, _) in enumerate(LEVELS):
        cell = element("path", class_=f"heat{level}", d="M0 0h1v1h-1z")
        items.append(element("li", element("svg", cell, viewBox="0 0 1 1", aria_hidden="true"), label))
    return element("ul", *items, class_="key")


def find_level(value: float, measure: GradientMeasure) -> int:
    """Gives the level of a cell by its largest difference.

    Example:
        >>> [find_level(value, GradientMeasure(0.0, 1e-12, 1.0, 1.0)) for value in (0.0, 1e-16, 1e-12, 1.0, inf)]
        [0, 1, 4, 5, 6]
    """
    if value == 0:
        return 0
    if not isfinite(value):
        return len(LEVELS) - 1
    ratio = value / measure.bound if measure.bound > 0 else inf
    return next((level for level in range(1, 5) if ratio <= LEVELS[level][1]), 5)


def describe_heat(picture: DifferencePicture, measure: GradientMeasure) -> str:
    """Says in words where the largest difference lies.

    Example:
        >>> picture = DifferencePicture((4, 4), ((-2, 1),), 15, 0, ((0.0, 0.0), (0.25, 0.0)))
        >>> describe_heat(picture, GradientMeasure(0.25, 0.5, 1.0, 1.0))
        'largest in rows 2–3, columns 0–1: 2.5e-01, 0.5 of the bound'
    """
    hottest = max((value for row in picture.heat for value in row), default=0.0)
    if hottest == 0:
        return "no element differs"
    y, x = next((y, x) for y, row in enumerate(picture.heat) for x, value in enumerate(row) if value == hottest)
    height, width = (1, 1, *picture.shape)[-2:]
    columns = _spell_cell("column", x, len(picture.heat[0]), width)
    where = columns if len(picture.shape) < 2 else f"{_spell_cell('row', y, len(picture.heat), height)}, {columns}"
    if not isfinite(hottest):
        return f"not finite in {where}"
    share = f", {hottest / measure.bound:.2g} of the bound" if measure.bound > 0 else ""
    return f"largest in {where}: {hottest:.1e}{share}"


def _spell_cell(axis: str, cell: int, count: int, length: int) -> str:
    first, last = -(-cell * length // count), -(-(cell + 1) * length // count) - 1
    return f"{axis} {first}" if first == last else f"{axis}s {first}–{last}"
