"""Rendering what `copy` did, or would do."""

from __future__ import annotations

from collections.abc import Sequence

from tiecli.copies import CopyReport
from tiecli.copies.report import CopiedLeaf
from tiecli.leaves import format_bytes
from tiecli.render.lines import Line, Span, align_columns, count_of, line

_MOST = 20
"""So many leaves are shown; --json lists all."""


def copy_to_text(report: CopyReport) -> list[Line]:
    """Shows what gets new values, and what does not."""
    how = " by name" if report.by_name else ""
    what = f"{count_of(len(report.copies), 'leaf', 'leaves')}{how}, {format_bytes(report.nbytes)}"
    lines = [line((f"{report.source} → {report.destination}", "title"), f"   {what}")]
    if not report.by_name:
        rows: list[list[str | Span]] = [
            [(f"  {_equation(leaf)}", "added"), str(leaf.spec)] for leaf in report.copies[:_MOST]
        ]
        lines += align_columns(rows)
        if len(report.copies) > _MOST:
            lines.append(line(f"  and {len(report.copies) - _MOST:,} more"))
    for leaf in report.mismatched[:_MOST]:
        lines.append(line(("! ", "warning"), f"{leaf.leaf} stays: {leaf.found} there, {leaf.expected} here"))
    if report.by_name:
        lines += _list_left("not in the source, stays", report.missing)
        lines += _list_left("only in the source, not copied", report.extra)
    elif report.missing:
        lines.append(line(f"  {count_of(len(report.missing), 'other leaf stays', 'other leaves stay')}"))
    if report.follows:
        lines.append(line(f"  {_name_some(report.follows)}: tied to what gets new values, and so gets them too"))
    return lines


def copy_to_notices(report: CopyReport) -> list[Line]:
    """Words what a person must know besides: that nothing is tied, and where the result was written."""
    lines = [line(("note:", "label"), " the values are equal now, and no tie is recorded: `tiecli tie` records one")]
    lines += [line(("note:", "label"), f" {notice}") for notice in report.notices]
    if report.output is None:
        lines.append(line("Nothing written: add -o OUT or --in-place."))
    else:
        lines.append(line(("wrote", "good"), f" {report.output}"))
    return lines


def copy_to_json(report: CopyReport) -> dict[str, object]:
    """Gives the report as data; see docs/schemas/copy.schema.json."""
    return {
        "schema": "tiecli.copy/1",
        "source": str(report.source),
        "destination": str(report.destination),
        "copies": [
            {
                "dst": leaf.dst,
                "src": leaf.src,
                "transform": str(leaf.transform),
                "shape": list(leaf.spec.shape),
                "dtype": leaf.spec.dtype.name,
                "nbytes": leaf.spec.nbytes,
            }
            for leaf in report.copies
        ],
        "nbytes": report.nbytes,
        "missing": list(report.missing),
        "extra": list(report.extra),
        "by_name": report.by_name,
        "mismatched": [
            {"leaf": leaf.leaf, "found": str(leaf.found), "expected": str(leaf.expected)} for leaf in report.mismatched
        ],
        "follows": list(report.follows),
        "tied": False,
        "output": None if report.output is None else str(report.output),
        "notices": list(report.notices),
    }


def _equation(leaf: CopiedLeaf) -> str:
    right = leaf.src if leaf.transform.is_same else f"{leaf.src} | {leaf.transform}"
    return f"{leaf.dst} := {right}"


def _list_left(how: str, names: Sequence[str]) -> list[Line]:
    return [line(("- ", "dim"), f"{how}: {_name_some(names)}")] if names else []


def _name_some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + rest
