"""Rendering what `convert` did, or would do."""

from __future__ import annotations

from tiecli.conversion import ConvertReport
from tiecli.conversion.report import ConvertedTie
from tiecli.leaves import format_bytes
from tiecli.render.lines import Line, Span, align_columns, count_of, line

_KEPT = {"omit": "not stored", "alias": "a second name of its bytes"}


def convert_to_text(report: ConvertReport) -> list[Line]:
    """Shows what goes over, how, and into which files."""
    what = f"{count_of(report.leaves, 'leaf', 'leaves')}, {format_bytes(report.nbytes)}"
    rows: list[list[str | Span]] = [[(f"{report.source_format} → {report.format}", "title"), f"{what}{_ways(report)}"]]
    rows += [[(f"  {_equation(tie)}", "tie"), _fate(tie)] for tie in report.ties]
    rows += _list_files(report)
    return align_columns(rows, gap=4)


def convert_to_notices(report: ConvertReport) -> list[Line]:
    """Words what a person must know besides: what stayed behind, and where the rest was written."""
    lines = [line(("note:", "label"), f" {notice}") for notice in report.notices]
    if report.output is None:
        lines.append(line("Nothing written: add -o OUT."))
    else:
        lines.append(line(("wrote", "good"), f" {report.output}"))
    return lines


def convert_to_json(report: ConvertReport) -> dict[str, object]:
    """Gives the report as data; see docs/schemas/convert.schema.json."""
    return {
        "schema": "tiecli.convert/1",
        "checkpoint": str(report.checkpoint),
        "source_format": report.source_format,
        "format": report.format,
        "leaves": report.leaves,
        "nbytes": report.nbytes,
        "copied_nbytes": report.copied_nbytes,
        "ties": [_tie_to_json(tie) for tie in report.ties],
        "files": [{"name": file.name, "nbytes": file.nbytes} for file in report.files],
        "output": None if report.output is None else str(report.output),
        "notices": list(report.notices),
    }


def _list_files(report: ConvertReport) -> list[list[str | Span]]:
    """Lists the files of a safetensors checkpoint; those of an Orbax item are named by nobody."""
    if report.format == "safetensors" or not report.files:
        return [[f"+ {file.name}", format_bytes(file.nbytes)] for file in report.files]
    return [[f"+ {count_of(len(report.files), 'file')}", format_bytes(sum(file.nbytes for file in report.files))]]


def _ways(report: ConvertReport) -> str:
    """Words how the bytes get there."""
    if report.copied_nbytes == report.nbytes:
        return ", copied as they are"
    verb = "decoded" if report.source_format == "orbax" else "encoded"
    if report.copied_nbytes == 0:
        return f", {verb}"
    return f", {format_bytes(report.copied_nbytes)} of it copied as it is"


def _equation(tie: ConvertedTie) -> str:
    right = tie.canonical if tie.transform.is_same else f"{tie.canonical} | {tie.transform}"
    return f"{tie.alias} = {right}"


def _fate(tie: ConvertedTie) -> str:
    """Words what becomes of an alias."""
    was = "" if tie.before == tie.after else f", was {_KEPT[tie.before]}"
    return f"{_KEPT[tie.after]}{was}, {tie.spec}"


def _tie_to_json(tie: ConvertedTie) -> dict[str, object]:
    return {
        "alias": tie.alias,
        "canonical": tie.canonical,
        "transform": str(tie.transform),
        "shape": list(tie.spec.shape),
        "dtype": tie.spec.dtype.name,
        "nbytes": tie.spec.nbytes,
        "before": tie.before,
        "after": tie.after,
    }
