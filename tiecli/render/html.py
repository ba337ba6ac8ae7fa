"""Page: what verifying found, as one HTML file that a reviewer opens without tiecli or a network.

There is no script in it, and its policy allows none: a name that slipped through as markup
could still do nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tiecli.render import page
from tiecli.render.page.figures import draw_differences
from tiecli.render.page.markup import Markup, element, join
from tiecli.render.page.sections import (
    describe_report,
    explain_verdicts,
    list_losses,
    list_other_leaves,
    list_ties,
    show_training,
)
from tiecli.render.page.tiegraph import draw_graph
from tiecli.verification.verdicts import VerifyReport


def verify_to_html(report: VerifyReport) -> str:
    """Gives the report as one page that needs nothing else."""
    sections = list(_sections(report))
    links = [element("li", element("a", heading, href=f"#{anchor}")) for anchor, heading, _ in sections]
    body = element(
        "body",
        element("header", describe_report(report), element("nav", element("ul", *links), aria_label="Sections")),
        element("main", *(_section(*section) for section in sections)),
    )
    return f"<!DOCTYPE html>\n{element('html', _head(report), body, lang='en')}\n"


def _head(report: VerifyReport) -> Markup:
    style = Path(page.__file__).with_name("style.css").read_text(encoding="utf-8")
    hashed = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{report.judgement.verdict}: {report.checkpoint} · tiecli verify"),
        # Without one, a browser asks the server for an icon.
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),
    )


def _sections(report: VerifyReport) -> Iterator[tuple[str, str, Markup]]:
    """Yields what there is to show: an anchor, a heading, and the contents."""
    yield "ties", "Ties", list_ties(report.ties)
    if report.others.differing:
        yield "others", "Other leaves that differ", list_other_leaves(report.others)
    if report.ties:
        yield "graph", "Graph", draw_graph(report.ties)
    if any(tie.picture is not None for tie in report.ties):
        yield "gradients", "Where gradients differ", draw_differences(report.ties)
    if report.losses:
        yield "losses", "Losses", list_losses(report.losses)
    if report.trajectory is not None:
        yield "training", "Training", show_training(report.trajectory)
    yield "verdicts", "What the verdicts mean", explain_verdicts()


def _section(anchor: str, heading: str, contents: Markup) -> Markup:
    title = element("h2", heading, id=f"{anchor}-title")
    return element("section", join(title, contents), id=anchor, aria_labelledby=f"{anchor}-title")
