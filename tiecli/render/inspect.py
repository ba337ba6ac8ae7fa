"""Rendering an inspection: as a tree, as a table, as JSON."""

from __future__ import annotations

from tiecli.render.lines import Line, Span, align_columns, count_of, format_bytes, line
from tiecli.render.tree import build_tree, fold_rows
from tiecli.verbs.inspect import InspectedTie, InspectReport

SCHEMA = "tiecli.inspect/1"


def inspect_to_text(report: InspectReport, *, table: bool = False, depth: int | None = None) -> list[Line]:
    """Shows what is in a checkpoint: one line for the whole, one a tie, then the leaves."""
    facts = [
        report.format,
        count_of(len(report.files), "file"),
        count_of(report.leaf_count, "leaf", "leaves"),
        format_bytes(report.nbytes),
        " ".join(f"{name}×{count:,}" if len(report.dtypes) > 1 else name for name, count in report.dtypes.items()),
    ]
    head = [line((str(report.root), "title"), "  " + ", ".join(fact for fact in facts if fact))]
    if len(report.leaves) != report.leaf_count:
        head.append(line(("shown", "label"), f"  {len(report.leaves):,} of {report.leaf_count:,} leaves"))
    head += _ties_to_text(report.ties)
    if not report.leaves:
        return head
    return [*head, line(), *(_table(report) if table else _tree(report, depth))]


def inspect_to_json(report: InspectReport) -> dict[str, object]:
    """Gives the inspection as data; see docs/schemas/inspect.schema.json."""
    return {
        "schema": SCHEMA,
        "checkpoint": str(report.root),
        "format": report.format,
        "files": list(report.files),
        "leaves": [
            {
                "path": leaf.path.spelling,
                "shape": list(leaf.spec.shape),
                "dtype": leaf.spec.dtype.name,
                "nbytes": leaf.spec.nbytes,
                "shard": leaf.shard,
            }
            for leaf in report.leaves
        ],
        "ties": [
            {
                "alias": tie.alias,
                "canonical": tie.canonical,
                "transform": tie.transform,
                "source": tie.source,
                "stored_twice": tie.stored_twice,
            }
            for tie in report.ties
        ],
        "totals": {"leaves": report.leaf_count, "nbytes": report.nbytes, "dtypes": dict(report.dtypes)},
        "metadata": dict(report.metadata),
    }


def _ties_to_text(ties: tuple[InspectedTie, ...]) -> list[Line]:
    rows: list[list[str | Span]] = []
    for i, tie in enumerate(ties):
        right = tie.canonical if tie.transform == "same" else f"{tie.canonical} | {tie.transform}"
        stored = ("stored twice", "warning") if tie.stored_twice else ("stored once", "")
        label = ("ties" if i == 0 else "", "label")
        rows.append([label, (f"{tie.alias} = {right}", "tie"), _SOURCES[tie.source], stored])
    return align_columns(rows, gap=2)


_SOURCES = {
    "manifest": "written down by tiecli",
    "metadata": "declared by the file's metadata",
    "config": "declared by config.json",
}


def _tree(report: InspectReport, depth: int | None) -> list[Line]:
    notes: dict[str, list[str]] = {}
    for tie in report.ties:
        notes.setdefault(tie.canonical, []).append(tie.alias)
        if tie.stored_twice:
            notes.setdefault(tie.alias, []).append(tie.canonical)
    spelled = {name: "↔ " + ", ".join(others) for name, others in notes.items()}
    root = build_tree(((leaf.path.spelling, leaf.spec) for leaf in report.leaves), spelled)
    return align_columns(fold_rows(root, depth), right=(2, 3))


def _table(report: InspectReport) -> list[Line]:
    rows: list[list[str | Span]] = [
        [
            leaf.path.spelling,
            (leaf.spec.dtype.name, "dtype"),
            "×".join(map(str, leaf.spec.shape)) or "scalar",
            format_bytes(leaf.spec.nbytes),
            (leaf.shard if len(report.files) > 1 else "", "dim"),
        ]
        for leaf in report.leaves
    ]
    heading: list[str | Span] = [
        (name, "label") for name in ("leaf", "dtype", "shape", "size", "shard" if len(report.files) > 1 else "")
    ]
    return align_columns([heading, *rows], right=(2, 3))
