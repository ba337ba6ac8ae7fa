"""Rendering the difference between two checkpoints."""

from __future__ import annotations

from collections import Counter

from tiecli.compare import Comparison
from tiecli.diffs import DiffEntry, DiffReport
from tiecli.leaves import LeafSpec, format_bytes
from tiecli.render.lines import Line, Span, align_columns, count_of, line

SCHEMA = "tiecli.diff/1"
_PLURALS = {"node": "nodes"}
_SIGNS = {"added": ("+", "added"), "removed": ("-", "removed")}


def diff_to_text(report: DiffReport) -> list[Line]:
    """Shows the answer in one line, then one line a difference."""
    compared = f"{count_of(report.leaves_compared, 'leaf', 'leaves')} compared, {format_bytes(report.bytes_compared)}"
    if report.equal:
        return [line(("equal", "good"), f": {compared}")]
    counts = Counter(entry.change for entry in report.entries)
    answer = ", ".join(count_of(count, change, _PLURALS.get(change, change)) for change, count in counts.items())
    values = "every leaf keeps its value" if report.same_values else "values differ"
    rows: list[list[str | Span]] = []
    for entry in report.entries:
        sign = _SIGNS.get(entry.change, ("~", "warning"))
        rows.append([sign, (entry.change, sign[1]), entry.path, (_remark(entry), "dim")])
    return [line(("different", "bad"), f": {answer}; {values}; {compared}"), line(), *align_columns(rows, gap=2)]


def diff_to_json(report: DiffReport) -> dict[str, object]:
    """Gives the difference as data; see docs/schemas/diff.schema.json."""
    return {
        "schema": SCHEMA,
        "left": str(report.left),
        "right": str(report.right),
        "equal": report.equal,
        "same_values": report.same_values,
        "entries": [
            {
                "path": entry.path,
                "change": entry.change,
                "left": _spec_to_json(entry.left),
                "right": _spec_to_json(entry.right),
                "before": entry.before,
                "after": entry.after,
                "values": _values_to_json(entry.comparison),
            }
            for entry in report.entries
        ],
        "totals": {"leaves_compared": report.leaves_compared, "bytes_compared": report.bytes_compared},
    }


def _remark(entry: DiffEntry) -> str:
    compared = entry.comparison
    if entry.change == "changed" and compared is not None:
        return _describe_values(compared)
    if entry.change in ("reshaped", "retyped"):
        return f"{entry.left} → {entry.right}"
    if entry.change in ("added", "removed"):
        spec = entry.right or entry.left
        return _shorten(entry.after or entry.before or "") if spec is None else str(spec)
    if entry.change in ("tied", "untied"):
        return entry.after or entry.before or ""
    change = f"{_shorten(entry.before or '')} → {_shorten(entry.after or '')}"
    if compared is not None and not compared.equal:
        return f"{change}, {_describe_values(compared)}"
    return change


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _describe_values(compared: Comparison) -> str:
    if not compared.complete:
        return f"first at {list(compared.first or ())}"
    parts = [f"{compared.differing:,} of {compared.size:,} elements"]
    if compared.max_abs is not None:
        parts.append(f"max abs {compared.max_abs:.3g}")
    if compared.max_rel is not None:
        parts.append(f"rel {compared.max_rel:.3g}")
    if compared.max_ulp is not None:
        parts.append(f"{compared.max_ulp:,} ulp")
    if compared.cosine is not None:
        parts.append(f"cosine {compared.cosine:.6f}")
    return ", ".join(parts)


def _spec_to_json(spec: LeafSpec | None) -> dict[str, object] | None:
    return None if spec is None else {"shape": list(spec.shape), "dtype": spec.dtype.name, "nbytes": spec.nbytes}


def _values_to_json(compared: Comparison | None) -> dict[str, object] | None:
    """Gives what was measured; figures that were not asked for are null."""
    if compared is None:
        return None
    return {
        "equal": compared.equal,
        "size": compared.size,
        "differing": compared.differing if compared.complete else None,
        "first": None if compared.first is None else list(compared.first),
        "max_abs": compared.max_abs,
        "max_rel": compared.max_rel,
        "max_ulp": compared.max_ulp,
        "cosine": compared.cosine,
    }
