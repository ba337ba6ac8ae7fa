"""Tie graph: canonical leaves at the left, what follows from them at the right, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tiecli.render.lines import count_of, escape
from tiecli.render.page.bundles import Bundle, bundle_ties
from tiecli.render.page.markup import Markup, element, join
from tiecli.verification.verdicts import PASSING, TieVerdict, Verdict

MOST_BUNDLES = 80
"""So many rows a person may still look through; more are counted."""

SIGNS: dict[Verdict, str] = {
    "PASS": "✓",
    "NOT APPLICABLE": "–",
    "VACUOUS": "○",
    "AMBIGUOUS": "?",
    "FAIL": "✗",
    "REJECT": "⊘",
}
"""What each verdict is told by besides its colour."""

_ROW, _CHARACTER, _TOP = 28.0, 7.4, 30.0
_LONGEST_NAME, _LONGEST_TRANSFORM = 52, 30
_BETWEEN = 320.0


def draw_graph(ties: Sequence[TieVerdict]) -> Markup:
    """Draws which leaf follows from which, and how; ties that are alike stand together as one.

    What did not pass comes first where there is too much to draw.
    """
    bundles = bundle_ties(ties)
    drawn = _choose(bundles)
    rest = sum(len(bundle.ties) for bundle in bundles) - sum(len(bundle.ties) for bundle in drawn)
    layout = _Layout.of(drawn)
    nodes = [piece for group in _group(drawn) for piece in _draw_canonical(layout, group)]
    svg = element(
        "svg",
        element("title", "Which leaf follows from which", id="graph-drawing"),
        element("text", "canonical leaf", class_="tick", x=layout.left, y=14, text_anchor="end"),
        element("text", "follows from it", class_="tick", x=layout.right, y=14),
        *(_draw_edge(layout, bundle, row, start) for bundle, row, start in _edges(drawn)),
        *nodes,
        *(_draw_alias(layout, bundle, row) for row, bundle in enumerate(drawn)),
        class_="graph",
        role="group",
        aria_labelledby="graph-drawing",
        viewBox=f"0 0 {layout.width:g} {layout.height:g}",
        width=layout.width,
        height=layout.height,
    )
    note = (
        element("p", f"{count_of(rest, 'more tie')}, all in the table above, not drawn.", class_="dim") if rest else ""
    )
    return join(element("div", svg, class_="scroll", tabindex=0, role="region", aria_label="Tie graph"), note)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns end and begin, and how large all is."""

    left: float
    right: float
    width: float
    height: float

    @classmethod
    def of(cls, bundles: Sequence[Bundle]) -> _Layout:
        """Makes room for the longest names."""
        """Lays bundles out, one below the other."""
        lefts = max((len(_shorten(bundle.canonical, _LONGEST_NAME)) for bundle in bundles), default=0)
        rights = max((len(_name_alias(bundle)) for bundle in bundles), default=0) + 3
        left = max(lefts, 14) * _CHARACTER + 12
        right = left + _BETWEEN
        return cls(left, right, right + max(rights, 14) * _CHARACTER + 12, _TOP + _ROW * max(len(bundles), 1))

    @staticmethod
    def row(row: float) -> float:
        """Places a row."""
        return _TOP + _ROW * (row + 0.5)


def _choose(bundles: Sequence[Bundle]) -> list[Bundle]:
    """Keeps the order, and leaves out what passed first."""
    if len(bundles) <= MOST_BUNDLES:
        return list(bundles)
    ranked = sorted(range(len(bundles)), key=lambda at: (bundles[at].verdict in PASSING, at))
    return [bundles[at] for at in sorted(ranked[:MOST_BUNDLES])]


def _group(bundles: Sequence[Bundle]) -> Iterator[tuple[str, float]]:
    """Yields each canonical leaf with the row it stands in: the middle of what follows from it."""
    row = 0
    for canonical, members in groupby(bundles, key=lambda bundle: bundle.canonical):
        count = len(list(members))
        yield canonical, row + (count - 1) / 2
        row += count


def _edges(bundles: Sequence[Bundle]) -> Iterator[tuple[Bundle, int, float]]:
    starts = dict(_group(bundles))
    for row, bundle in enumerate(bundles):
        yield bundle, row, starts[bundle.canonical]


def _draw_canonical(layout: _Layout, group: tuple[str, float]) -> Iterator[Markup]:
    canonical, row = group
    label = _shorten(canonical, _LONGEST_NAME)
    yield element("circle", class_="node", cx=layout.left + 10, cy=layout.row(row), r=4)
    title = element("title", canonical)
    yield element("text", label, title, class_="name", x=layout.left, y=layout.row(row) + 4, text_anchor="end")


def _draw_edge(layout: _Layout, bundle: Bundle, row: int, start: float) -> Markup:
    x1, x2 = layout.left + 16, layout.right - 12
    y1, y2 = layout.row(start), layout.row(row)
    # The line is level where the transform is written, so that it runs under the words.
    middle = x1 + (x2 - x1) * 0.25
    handle = (middle - x1) / 2
    start_at, bend = f"M{x1:.1f} {y1:.1f}", f"C{x1 + handle:.1f} {y1:.1f} {middle - handle:.1f} {y2:.1f}"
    path = f"{start_at}{bend} {middle:.1f} {y2:.1f}H{x2:.1f}"
    kind = verdict_class(bundle.verdict)
    return element(
        "g",
        element("path", class_=f"edge {kind}", d=path),
        element("path", class_=f"arrow {kind}", d=f"M{x2:.1f} {y2 - 4:.1f}l7 4l-7 4z"),
        element(
            "text",
            _shorten(bundle.transform, _LONGEST_TRANSFORM),
            element("title", bundle.transform),
            class_="transform",
            x=(middle + x2) / 2,
            y=y2 - 4,
            text_anchor="middle",
        ),
    )


def _draw_alias(layout: _Layout, bundle: Bundle, row: int) -> Markup:
    kind = verdict_class(bundle.verdict)
    words = element(
        "text",
        element("tspan", f"{SIGNS[bundle.verdict]} ", class_=kind),
        _name_alias(bundle),
        element("title", f"{bundle.alias}: {bundle.verdict}"),
        class_="name",
        x=layout.right,
        y=layout.row(row) + 4,
    )
    return element("a", words, href=f"#tie-{bundle.ties[0]}")


def verdict_class(verdict: Verdict) -> str:
    """Gives the class that colours a verdict."""
    return verdict.lower().replace(" ", "-")


def _name_alias(bundle: Bundle) -> str:
    count = len(bundle.ties)
    return _shorten(bundle.alias, _LONGEST_NAME) + (f"  ×{count}" if count > 1 else "")


def _shorten(name: str, longest: int) -> str:
    """Leaves out the middle: the ends tell more."""
    shown, half = escape(name), (longest - 1) // 2
    return shown if len(shown) <= longest else f"{shown[:half]}…{shown[-half:]}"
