"""Lines: text in styled spans, aligned in columns, before anybody knows where it is shown.

Plain output must not wait for rich to be imported (45 ms, as long as a command on a small
file takes), so renderers build lines of spans; only a terminal turns spans into colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[str, str]
"""A piece of text and the name of its style; `""` is plain."""

Line = tuple[Span, ...]


def line(*pieces: str | Span) -> Line:
    """Builds a line from plain strings and styled spans."""
    return tuple((piece, "") if isinstance(piece, str) else piece for piece in pieces)


def escape(text: str) -> str:
    r"""Spells control characters out: names come from untrusted files, and must not reach a terminal raw.

    Example:
        >>> escape("a" + chr(27) + "[2J")
        'a\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def plain_text(lines: Iterable[Line]) -> str:
    """Gives lines as text without styles, each ended by a newline."""
    return "".join(escape("".join(text for text, _ in spans).rstrip()) + "\n" for spans in lines)


def align_columns(rows: Sequence[Sequence[str | Span]], right: Sequence[int] = (), gap: int = 3) -> list[Line]:
    """Pads cells so that columns line up.

    A row may be shorter than the others; its last cell then runs on over the columns it lacks.

    Args:
        rows: Cells, each a string or a span.
        right: Indices of columns whose text stands at the right.
        gap: Spaces between columns.
    """
    cells = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    width = max((len(row) for row in cells), default=0)
    widths = [
        max((len(row[i][0]) for row in cells if i < len(row) - (0 < len(row) < width and i > 0)), default=0)
        for i in range(width)
    ]
    aligned: list[Line] = []
    for row in cells:
        spans: list[Span] = []
        for i, (text, style) in enumerate(row):
            padding = " " * (widths[i] - len(text))
            runs_on = i == len(row) - 1 < width - 1
            before, after = (padding, "") if i in right and not runs_on else ("", padding)
            spans += [(before, ""), (text, style), (after + " " * gap if i < len(row) - 1 else "", "")]
        aligned.append(tuple(span for span in spans if span[0]))
    return aligned


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """Spells a count with its noun.

    Example:
        >>> count_of(1, "leaf", "leaves"), count_of(1200, "leaf", "leaves")
        ('1 leaf', '1,200 leaves')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
