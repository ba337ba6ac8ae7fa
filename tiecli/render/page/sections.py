"""Sections: the answer, the tables and the words of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tiecli.render.lines import count_of
from tiecli.render.page.curves import describe_trajectory, draw_trajectory
from tiecli.render.page.markup import Markup, element, join, mark_names
from tiecli.render.page.tiegraph import SIGNS, verdict_class
from tiecli.verification.verdicts import (
    PASSING,
    VERDICTS,
    GradientMeasure,
    Judgement,
    LossCheck,
    OtherLeaves,
    TieVerdict,
    Trajectory,
    Verdict,
    VerifyReport,
    worst_of,
)

_MEANINGS: dict[Verdict, str] = {
    "PASS": "Every test that could have failed held.",
    "NOT APPLICABLE": "Integers, booleans and random keys have no gradient; their bytes are right.",
    "VACUOUS": "Nothing was shown: there was nothing to compare with, or no gradient to speak of.",
    "AMBIGUOUS": "The bytes fit more than one transform, so that they cannot tell which is meant.",
    "FAIL": "Bytes or gradients are not what the tie says, or its canonical leaf changed since.",
    "REJECT": "What is stated cannot be so at all.",
}


def describe_report(report: VerifyReport) -> Markup:
    """Gives the answer first, then what was compared with what."""
    verdict = report.judgement.verdict
    original = (
        element("code", str(report.original))
        if report.original is not None
        else "none given: bytes are judged by the digests in the manifest"
    )
    counts = Counter(tie.judgement.verdict for tie in report.ties)
    facts: list[tuple[str, str]] = [
        ("checkpoint", element("code", str(report.checkpoint))),
        ("original", original),
        ("gradients", report.device or "none computed"),
        ("ties", ", ".join(f"{counts[kind]:,} {kind}" for kind in VERDICTS if counts[kind]) or "none"),
        ("other leaves", _describe_others(report.others)),
    ]
    if report.allowed:
        facts.append(("allowed", ", ".join(report.allowed)))
    answer = element("span", f"{SIGNS[verdict]} {verdict}", class_=f"answer {verdict_class(verdict)}")
    passed = "passed" if report.passed else "not passed"
    return join(
        element("p", "tiecli verify", class_="overline"),
        element("h1", report.checkpoint.name or str(report.checkpoint)),
        element("p", answer, passed, mark_names(f": {report.judgement.reason}" if report.judgement.reason else "")),
        element("dl", *(piece for term, fact in facts for piece in (element("dt", term), element("dd", fact)))),
    )


def _describe_others(others: OtherLeaves) -> str:
    if not others.compared and not others.differing:
        return "not compared"
    if others.differing:
        return f"{len(others.differing):,} of {others.compared:,} differ from the original's"
    return f"{others.compared:,}, byte for byte the original's"


def list_ties(ties: Sequence[TieVerdict]) -> Markup:
    """Gives the table with one row a tie."""
    if not ties:
        return element("p", "The checkpoint has no tie that could be verified.")
    columns = (
        "verdict", "alias", "canonical", "transform", "why", "bytes", "ulp", "error / bound", "|g_src|", "|g_dst|",
        "also fits", "leaf",
    )  # fmt: skip
    rows = [_tie_row(at, tie) for at, tie in enumerate(ties)]
    passing = sum(tie.judgement.verdict in PASSING for tie in ties)
    only = element(
        "label", element("input", type="checkbox", id="only"), " only those that did not pass", class_="only"
    )
    caption = (
        f"{count_of(len(ties), 'tie')}, {passing:,} passed. |g|: the largest gradient of a leaf in the untied model."
    )
    return join(*([only] if 0 < passing < len(ties) else []), _table(caption, columns, rows, "Table of ties"))


def _tie_row(at: int, tie: TieVerdict) -> Markup:
    verdict = tie.judgement.verdict
    reasons = [reason for reason in (tie.judgement.reason, *tie.notes) if reason]
    return element(
        "tr",
        _verdict_cell(verdict),
        element("th", tie.alias, scope="row"),
        element("td", tie.canonical, class_="long mono"),
        element("td", tie.transform, class_="long mono"),
        element("td", mark_names("; ".join(reasons)), class_="long why" if reasons else "why"),
        element("td", _describe_bytes(tie)),
        _number("" if tie.max_ulp is None else f"{tie.max_ulp:,}"),
        *_measure_cells(tie.probe),
        element("td", ", ".join(tie.fits[1:]), class_="long mono" if tie.fits[1:] else "mono"),
        element("td", str(tie.spec)),
        id=f"tie-{at}",
        class_="fine" if verdict in PASSING else "open",
    )


def _describe_bytes(tie: TieVerdict) -> str:
    if not tie.differing:
        return tie.bytes_state
    worst = "" if tie.worst is None else f", worst at {list(tie.worst)}"
    return f"{tie.bytes_state}: {count_of(tie.differing, 'element')}{worst}"


def list_other_leaves(others: OtherLeaves) -> Markup:
    """Lists the leaves that are not tied, and not the original's either."""
    return element("ul", *(element("li", name, class_="mono") for name in others.differing), class_="plain")


def list_losses(losses: Sequence[LossCheck]) -> Markup:
    """Gives a table of the points at which losses were compared, and one of what each tie showed there."""
    points = []
    for check in losses:
        worst = worst_of(judgement for _, judgement in check.judgements)
        points.append(
            element(
                "tr",
                _verdict_cell(worst.verdict),
                element("th", check.name, scope="row"),
                element("td", "of the full tree" if check.kind == "loss" else "reference, of the tied tree"),
                element("td", check.point),
                _number(f"{check.loss_tied:.15g}"),
                _number(f"{check.loss_other:.15g}"),
                element("td", mark_names(worst.reason), class_="long why"),
            )
        )
    columns = ("verdict", "loss", "kind", "point", "through the manifest", "otherwise", "why")
    each = [row for check in losses for row in _loss_rows(check)]
    detail = ("verdict", "alias", "loss", "point", "error / bound", "|g_src|", "|g_dst|", "why")
    return join(
        _table("Losses at the stored point and near it.", columns, points, "Table of losses"),
        element(
            "details",
            element("summary", "Each tie at each point"),
            _table(f"{count_of(len(each), 'gradient')} compared.", detail, each, "Gradients of losses"),
        ),
    )


def _loss_rows(check: LossCheck) -> list[Markup]:
    measures = dict(check.measures)
    return [
        element(
            "tr",
            _verdict_cell(judgement.verdict),
            element("th", alias, scope="row"),
            element("td", check.name, class_="mono"),
            element("td", check.point),
            *_measure_cells(measures.get(alias)),
            element("td", mark_names(judgement.reason), class_="long why"),
        )
        for alias, judgement in check.judgements
    ]


def show_training(trajectory: Trajectory) -> Markup:
    """Shows how training went on, as curves and as numbers."""
    judgement = (
        Judgement("PASS", "tied training and untied training with summed gradients stay together")
        if trajectory.holds
        else Judgement("FAIL", "tied training and untied training with summed gradients come apart")
    )
    steps = list(zip(trajectory.tied_apart, trajectory.naive_apart, strict=False))
    # A long run is told well enough by twenty of its steps.
    every = max(1, len(steps) // 20)
    rows = [
        element("tr", element("th", str(step), scope="row"), _number(f"{tied:.1e}"), _number(f"{naive:.1e}"))
        for step, (tied, naive) in enumerate(steps, start=1)
        if step % every == 0 or step == len(steps)
    ]
    sign = element("strong", f"{SIGNS[judgement.verdict]} ", class_=verdict_class(judgement.verdict))
    caption = "Distance of the parameters from those of tied training, relative to the largest parameter."
    return join(
        element("p", sign, f"{judgement.reason}; {describe_trajectory(trajectory)}."),
        draw_trajectory(trajectory),
        element(
            "details",
            element("summary", "The same in numbers"),
            _table(caption, ("step", "untied, summed", "untied, naively"), rows, "Table of steps"),
        ),
    )


def explain_verdicts() -> Markup:
    """Says what each verdict means; only the first two count as passed."""
    pairs = [
        piece
        for verdict in VERDICTS
        for piece in (
            element("dt", f"{SIGNS[verdict]} {verdict}", class_=verdict_class(verdict)),
            element("dd", _MEANINGS[verdict]),
        )
    ]
    return element("dl", *pairs)


def _table(caption: str, columns: Iterable[str], rows: Iterable[Markup], label: str) -> Markup:
    heading = element("tr", *(element("th", column, scope="col") for column in columns))
    table = element("table", element("caption", caption), element("thead", heading), element("tbody", *rows))
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _verdict_cell(verdict: Verdict) -> Markup:
    return element("td", f"{SIGNS[verdict]} {verdict}", class_=f"verdict {verdict_class(verdict)}")


def _measure_cells(measure: GradientMeasure | None) -> tuple[Markup, ...]:
    if measure is None:
        return (_number(""), _number(""), _number(""))
    return (
        _number(f"{measure.error:.1e} / {measure.bound:.1e}"),
        _number(f"{measure.src_norm:.4g}"),
        _number(f"{measure.dst_norm:.4g}"),
    )


def _number(spelled: str) -> Markup:
    return element("td", spelled, class_="number")
