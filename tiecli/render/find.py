"""Rendering what `find` found, with the command that would act on each hit."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from tiecli.checkpoints.protocol import Selection
from tiecli.compare import describe_drift
from tiecli.detect import FindReport, Hit, HitKind
from tiecli.leaves import format_bytes
from tiecli.plan import TieRequest
from tiecli.render.lines import Line, Span, align_columns, count_of, line

SCHEMA = "tiecli.find/1"
MOST_COMMANDS = 10
_STYLES = {"drifted": "bad", "dead": "bad", "ambiguous": "warning"}
_MARKS = {"drifted": "≈", "dead": "≠"}
_UNSURE: tuple[HitKind, ...] = ("drifted", "ambiguous", "dead")


def find_to_text(report: FindReport, checkpoint: Path, selection: Selection = Selection()) -> list[Line]:
    """Shows the answer in one line, one line a hit, and the commands to type next."""
    words = _name_checkpoint(checkpoint, selection)
    lines = [line((_answer(report), "title"))]
    if not report.hits:
        return lines
    rows: list[list[str | Span]] = [
        [
            (hit.kind, _STYLES.get(hit.kind, "good")),
            hit.alias.spelling,
            f"{_MARKS.get(hit.kind, '=')} {_right_side(hit)}",
            str(hit.spec),
            (_remark(hit), "dim"),
        ]
        for hit in report.hits
    ]
    return [*lines, line(), *align_columns(rows), line(), *_next_commands(report, checkpoint, words)]


def find_to_json(report: FindReport, checkpoint: Path, selection: Selection = Selection()) -> dict[str, object]:
    """Gives the hits as data; see docs/schemas/find.schema.json."""
    words = _name_checkpoint(checkpoint, selection)
    return {
        "schema": SCHEMA,
        "checkpoint": str(checkpoint),
        "hits": [_hit_to_json(hit, checkpoint, words) for hit in report.hits],
        "totals": {
            "leaves": report.leaves,
            "leaves_read_whole": report.leaves_read_whole,
            "bytes_read": report.bytes_read,
            "constant_leaves": report.constant_leaves,
            "shared_leaves": report.shared_leaves,
        },
    }


def list_requests(report: FindReport) -> list[TieRequest]:
    """Lists the ties that can be made as they stand: every hit but drifted, ambiguous and dead ones."""
    return [TieRequest(hit.canonical, hit.alias, hit.transform) for hit in report.hits if hit.kind not in _UNSURE]


def _name_checkpoint(checkpoint: Path, selection: Selection) -> list[str]:
    """Gives the words that name a checkpoint, and which part of it."""
    step = [] if selection.step is None else ["--step", str(selection.step)]
    return [str(checkpoint), *step, *([] if selection.item is None else ["--item", selection.item])]


def _next_commands(report: FindReport, checkpoint: Path, words: list[str]) -> list[Line]:
    """Gives the commands to type: all sure ties at once, then one a hit."""
    sure = list_requests(report)
    lines: list[Line] = []
    if len(sure) > 1:
        find = shlex.join(["tiecli", "find", *words, "--plan", "ties.json"])
        tie = shlex.join(["tiecli", "tie", *words, "--plan", "ties.json", "-o", _output(checkpoint)])
        lines = [
            line((f"{find} && {tie}", "command")),
            line((f"# all {len(sure):,} ties at once; or one of them:", "dim")),
        ]
    for hit in report.hits[:MOST_COMMANDS]:
        lines.append(line((_command(hit, checkpoint, words), "command"), (_caution(hit), "dim")))
    if len(report.hits) > MOST_COMMANDS:
        lines.append(
            line((f"# and {len(report.hits) - MOST_COMMANDS:,} more; --json gives the command of each", "dim"))
        )
    return lines


def _caution(hit: Hit) -> str:
    if hit.kind == "drifted":
        return f"   # gives up the values of {hit.alias.spelling}"
    if hit.kind == "dead":
        return "   # if the model makes the one of the other"
    return "   # or one of the other transforms" if hit.kind == "ambiguous" else ""


def _answer(report: FindReport) -> str:
    counts = Counter(hit.kind for hit in report.hits)
    ties = sum(count for kind, count in counts.items() if kind not in _UNSURE)
    parts = [count_of(ties, "tie") if ties else "no tie"]
    parts += [f"{counts[kind]} {kind}" for kind in _UNSURE if counts[kind]]
    read = f"{report.leaves_read_whole:,} of {count_of(report.leaves, 'leaf', 'leaves')} read whole"
    rest = [read]
    if report.constant_leaves:
        rest.append(f"{count_of(report.constant_leaves, 'constant leaf', 'constant leaves')} left out")
    if report.shared_leaves:
        rest.append(f"{count_of(report.shared_leaves, 'leaf shares', 'leaves share')} the bytes of another already")
    return "; ".join((", ".join(parts), *rest))


def _right_side(hit: Hit) -> str:
    if hit.kind == "ambiguous":
        return f"{hit.canonical.spelling} | {', '.join(map(str, hit.fits))}"
    return hit.canonical.spelling if hit.transform.is_same else f"{hit.canonical.spelling} | {hit.transform}"


def _remark(hit: Hit) -> str:
    if hit.kind == "drifted" and hit.comparison is not None:
        return describe_drift(hit.comparison)
    if hit.kind == "dead":
        return "never received a gradient: the optimizer's state for it is zero"
    return f"saves {format_bytes(hit.nbytes)}"


def _command(hit: Hit, checkpoint: Path, named: list[str]) -> str:
    words = ["tiecli", "tie", *named, "--src", hit.canonical.spelling, "--dst", hit.alias.spelling]
    if not hit.transform.is_same or hit.kind == "ambiguous":
        words += ["--transform", str(hit.transform)]
    if hit.kind in ("drifted", "dead"):
        words += ["--keep", "src"]
    return shlex.join([*words, "-o", _output(checkpoint)])


def _output(checkpoint: Path) -> str:
    """Proposes a name for the tied checkpoint, in the present directory."""
    name = checkpoint.name.removesuffix(".safetensors") or "checkpoint"
    return f"{name}-tied{'.safetensors' if checkpoint.suffix == '.safetensors' else ''}"


def _hit_to_json(hit: Hit, checkpoint: Path, words: list[str]) -> dict[str, object]:
    compared = hit.comparison
    return {
        "src": hit.canonical.spelling,
        "dst": hit.alias.spelling,
        "transform": str(hit.transform),
        "kind": hit.kind,
        "nbytes": hit.nbytes,
        "shape": list(hit.spec.shape),
        "dtype": hit.spec.dtype.name,
        "fits": [str(fit) for fit in hit.fits],
        "drift": None
        if compared is None
        else {
            "differing": compared.differing,
            "size": compared.size,
            "max_abs": compared.max_abs,
            "max_ulp": compared.max_ulp,
        },
        "command": _command(hit, checkpoint, words),
    }
