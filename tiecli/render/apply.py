"""Rendering what `tie` and `untie` did, or would do."""

from __future__ import annotations

from collections import Counter

from tiecli.compare import describe_drift
from tiecli.leaves import format_bytes
from tiecli.render.lines import Line, Span, align_columns, count_of, line
from tiecli.reports import ApplyReport, ReportedSlot, ReportedTie

# So many slots are shown one by one.
_FEW = 8


def apply_to_text(report: ApplyReport) -> list[Line]:
    """Shows what goes, what stays, and what it saves."""
    sign, style = ("-", "removed") if report.verb == "tie" else ("+", "added")
    rows: list[list[str | Span]] = []
    rows += [[(f"  {_equation(tie)}", "tie"), _verdict(report, tie)] for tie in report.ties]
    for tie in report.ties:
        if tie.mode == "alias":
            rows.append([f"= {tie.alias}", f"{format_bytes(tie.spec.nbytes)}, the same stored bytes"])
        else:
            rows.append([(f"{sign} {tie.alias}", style), format_bytes(tie.spec.nbytes)])
    rows += _list_slots(report)
    rows.append([f"  {count_of(report.leaves_kept, 'leaf', 'leaves')} kept", format_bytes(report.bytes_kept)])
    return [*align_columns(rows, gap=4), _summary(report)]


def apply_to_notices(report: ApplyReport) -> list[Line]:
    """Words what a person must know besides: config, warnings, where it was written."""
    lines: list[Line] = []
    if report.config:
        lines.append(line(("note:", "label"), f" {report.config}"))
    for tie in report.ties:
        if tie.also_fits:
            others = ", ".join(map(str, tie.also_fits))
            lines.append(_warning(f"`{tie.alias}` also fits {others}; written as {tie.transform}"))
        if tie.drift is not None:
            lines.append(_warning(f"`{tie.alias}` and `{tie.canonical}`: {describe_drift(tie.drift)}"))
    lines += [line(("note:", "label"), f" {notice}") for notice in report.notices]
    if report.output is None:
        lines.append(line("Nothing written: add -o OUT or --in-place."))
    else:
        lines.append(line(("wrote", "good"), f" {report.output}{_fidelity(report)}"))
    return lines


def apply_to_json(report: ApplyReport) -> dict[str, object]:
    """Gives the report as data; see docs/schemas/tie.schema.json and untie.schema.json."""
    return {
        "schema": f"tiecli.{report.verb}/1",
        "checkpoint": str(report.checkpoint),
        "ties": [_tie_to_json(tie) for tie in report.ties],
        "leaves_kept": report.leaves_kept,
        "bytes_before": report.bytes_before,
        "bytes_after": report.bytes_after,
        "output": None if report.output is None else str(report.output),
        "config": report.config,
        "state": [_slot_to_json(slot) for slot in report.slots],
        "restored": report.restored,
        "notices": list(report.notices),
    }


def _list_slots(report: ApplyReport) -> list[list[str | Span]]:
    """Lists what becomes of an optimizer's state, slot by slot; of many leaves, those of one name together."""
    if len(report.slots) <= _FEW:
        return [[(f"  {slot.alias} → {slot.canonical}", "dim"), _word_slot(report, slot)] for slot in report.slots]
    alike = Counter((slot.slot, _word_slot(report, slot)) for slot in report.slots)
    return [
        [(f"  {name} of {count_of(count, 'leaf', 'leaves')}", "dim"), said] for (name, said), count in alike.items()
    ]


def _word_slot(report: ApplyReport, slot: ReportedSlot) -> str:
    if report.verb == "untie":
        return slot.rule
    return f"{slot.rule}; {'exact' if slot.exact else 'not exact'} ({slot.regime})"


def _slot_to_json(slot: ReportedSlot) -> dict[str, object]:
    return {
        "slot": slot.slot,
        "alias": slot.alias,
        "canonical": slot.canonical,
        "transform": str(slot.transform),
        "regime": slot.regime,
        "rule": slot.rule,
        "exact": slot.exact,
        "mode": slot.mode,
    }


def _warning(text: str) -> Line:
    return line(("warning:", "warning"), f" {text}")


def _equation(tie: ReportedTie) -> str:
    right = tie.canonical if tie.transform.is_same else f"{tie.canonical} | {tie.transform}"
    return f"{tie.alias} = {right}"


def _verdict(report: ApplyReport, tie: ReportedTie) -> str:
    if tie.drift is not None:
        return f"differed, one side given up, {tie.spec}"
    if report.verb == "tie":
        return f"bit-identical, {tie.spec}"
    return {True: "as it was tied", False: "canonical leaf changed since", None: "declared, never proved"}[
        tie.same_as_tied
    ] + f", {tie.spec}"


def _summary(report: ApplyReport) -> Line:
    change = abs(report.bytes_before - report.bytes_after)
    share = f" ({100 * change / report.bytes_before:.1f} %)" if report.bytes_before else ""
    return line((f"{'saves' if report.verb == 'tie' else 'adds'} {format_bytes(change)}{share}", "label"))


def _fidelity(report: ApplyReport) -> str:
    if report.verb == "tie" or report.restored is None:
        return ""
    what = "header, index and config as they were" if report.format == "safetensors" else "metadata as it was"
    return f", {what} before the first tie" if report.restored else ""


def _tie_to_json(tie: ReportedTie) -> dict[str, object]:
    drift = tie.drift
    return {
        "alias": tie.alias,
        "canonical": tie.canonical,
        "transform": str(tie.transform),
        "shape": list(tie.spec.shape),
        "dtype": tie.spec.dtype.name,
        "nbytes": tie.spec.nbytes,
        "mode": tie.mode,
        "also_fits": [str(other) for other in tie.also_fits],
        "differing": 0 if drift is None else drift.differing,
        "same_as_tied": tie.same_as_tied,
    }
