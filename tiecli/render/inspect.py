"""Rendering an inspection: as a tree, as a table, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tiecli.checkpoints.protocol import LeafStorage
from tiecli.keypaths import KeyPath
from tiecli.leaves import format_bytes
from tiecli.render.lines import Line, Span, align_columns, count_of, line
from tiecli.render.tree import build_tree, fold_rows
from tiecli.verbs.inspect import InspectedLeaf, InspectedTie, InspectReport

SCHEMA = "tiecli.inspect/1"

# Source: orbax-checkpoint 0.12.8, what `_METADATA` calls nodes that hold nothing.
_EMPTY = frozenset({"None", "Dict", "List", "Tuple", "NamedTuple"})


def inspect_to_text(report: InspectReport, *, table: bool = False, depth: int | None = None) -> list[Line]:
    """Shows what is in a checkpoint: one line for the whole, one a tie, then the leaves."""
    facts = [
        f"{report.format} ({report.description})" if report.description else report.format,
        count_of(len(report.files), "file") if report.format == "safetensors" else "",
        count_of(report.leaf_count, "leaf", "leaves"),
        format_bytes(report.nbytes),
        f"{format_bytes(report.stored_nbytes)} stored" if report.stored_nbytes != report.nbytes else "",
        " ".join(f"{name}×{count:,}" if len(report.dtypes) > 1 else name for name, count in report.dtypes.items()),
    ]
    head = [line((str(report.root), "title"), "  " + ", ".join(fact for fact in facts if fact))]
    if len(report.leaves) != report.leaf_count:
        head.append(line(("shown", "label"), f"  {len(report.leaves):,} of {report.leaf_count:,} leaves"))
    if report.other_nodes:
        head.append(line(("also", "label"), f"  {_count_nodes(report.other_nodes)}"))
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
        "description": report.description,
        "files": list(report.files),
        "leaves": [_leaf_to_json(leaf) for leaf in report.leaves],
        "ties": [
            {
                "alias": tie.alias.spelling,
                "canonical": tie.canonical,
                "transform": tie.transform,
                "source": tie.source,
                "stored_twice": tie.stored_twice,
                "shares_bytes": tie.shares_bytes,
            }
            for tie in report.ties
        ],
        "totals": {
            "leaves": report.leaf_count,
            "nbytes": report.nbytes,
            "stored_nbytes": report.stored_nbytes,
            "dtypes": dict(report.dtypes),
        },
        "metadata": dict(report.metadata),
        "other_nodes": [{"path": path.spelling, "kind": kind} for path, kind in report.other_nodes],
    }


def _leaf_to_json(leaf: InspectedLeaf) -> dict[str, object]:
    storage = leaf.storage
    return {
        "path": leaf.path.spelling,
        "shape": list(leaf.spec.shape),
        "dtype": leaf.spec.dtype.name,
        "nbytes": leaf.spec.nbytes,
        "shard": storage.file,
        "stored_nbytes": storage.nbytes,
        "codec": storage.codec,
        "chunk_shape": None if storage.chunk_shape is None else list(storage.chunk_shape),
        "chunks": storage.chunks,
        "sharding": storage.sharding,
        "kind": storage.kind,
    }


def _count_nodes(nodes: Sequence[tuple[KeyPath, str]]) -> str:
    counts = Counter("empty node" if kind in _EMPTY else kind for _, kind in nodes)
    return ", ".join(count_of(count, kind) for kind, count in counts.items())


def _ties_to_text(ties: tuple[InspectedTie, ...]) -> list[Line]:
    rows: list[list[str | Span]] = []
    for i, tie in enumerate(ties):
        right = tie.canonical if tie.transform == "same" else f"{tie.canonical} | {tie.transform}"
        stored = ("stored twice", "warning") if tie.stored_twice else ("stored once", "")
        if tie.shares_bytes:
            stored = ("stored once, both restore", "")
        label = ("ties" if i == 0 else "", "label")
        rows.append([label, (f"{tie.alias.spelling} = {right}", "tie"), _SOURCES[tie.source], stored])
    return align_columns(rows, gap=2)


_SOURCES = {
    "manifest": "written down by tiecli",
    "metadata": "declared by the file's metadata",
    "config": "declared by config.json",
}


def _tree(report: InspectReport, depth: int | None) -> list[Line]:
    notes: dict[KeyPath, list[str]] = {}
    for tie in report.ties:
        for path in tie.canonicals:
            notes.setdefault(path, []).append(tie.alias.spelling)
        if tie.stored_twice or tie.shares_bytes:
            notes.setdefault(tie.alias, []).append(tie.canonical)
    spelled = {path: "↔ " + ", ".join(others) for path, others in notes.items()}
    root = build_tree(((leaf.path, leaf.spec) for leaf in report.leaves), spelled)
    return align_columns(fold_rows(root, depth), right=(2, 3))


def _table(report: InspectReport) -> list[Line]:
    sharded = report.format == "safetensors" and len(report.files) > 1
    stored = [_storage_cells(leaf.storage, leaf.spec.nbytes, sharded=sharded) for leaf in report.leaves]
    texts = {name: {cells[name] for cells in stored} - {""} for name in stored[0]}
    if len(texts["sharding"]) == 1 and not texts["chunks"]:
        # All on one device: that says nothing of a leaf.
        texts["sharding"].clear()
    shown = [name for name, said in texts.items() if said]
    rows: list[list[str | Span]] = [
        [
            leaf.path.spelling,
            (leaf.spec.dtype.name, "dtype"),
            "×".join(map(str, leaf.spec.shape)) or "scalar",
            format_bytes(leaf.spec.nbytes),
            *((cells[name], "dim") for name in shown),
        ]
        for leaf, cells in zip(report.leaves, stored, strict=True)
    ]
    heading: list[str | Span] = [(name, "label") for name in ("leaf", "dtype", "shape", "size", *shown)]
    return align_columns([heading, *rows], right=(2, 3, 4) if "stored" in shown else (2, 3))


def _storage_cells(storage: LeafStorage, nbytes: int, *, sharded: bool) -> Mapping[str, str]:
    """Gives what there is to say of how a leaf is stored, by column; nothing of what goes without saying."""
    pieces = "×".join(map(str, storage.chunk_shape or ()))
    return {
        "stored": format_bytes(storage.nbytes) if storage.nbytes != nbytes else "",
        "chunks": f"{storage.chunks:,} of {pieces}" if storage.chunks > 1 else "",
        "codec": storage.codec if storage.codec != "none" else "",
        "sharding": storage.sharding,
        "shard": storage.file if sharded else "",
    }
