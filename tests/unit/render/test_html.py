"""`tiecli/render/html.py`: all that was found is on the page, and no name becomes part of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.render.verdict_reports import HOSTILE, make_full_report, make_report, make_tie, paint
from tiecli.render.html import verify_to_html
from tiecli.render.lines import escape
from tiecli.render.page.markup import element, text
from tiecli.verification.verdicts import GradientMeasure, Judgement, OtherLeaves, TieVerdict, VerifyReport

VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """What a browser makes of a page: elements with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, tag: str, **attributes: str) -> int:
        """How many elements of a kind there are."""
        return sum(found == tag and attributes.items() <= having.items() for found, having in self.elements)


def name_ties(names: tuple[str, ...]) -> tuple[TieVerdict, ...]:
    """One tie a name, with the name wherever one can stand."""
    return tuple(
        replace(make_tie(name, name, "FAIL", name, transform=name, picture=paint(1)), fits=(name, name), notes=(name,))
        for name in names
    )


def hostile_report(names: tuple[str, ...]) -> VerifyReport:
    """A report in which everything that can be named has these names."""
    full = make_full_report()
    measure = GradientMeasure(0, 1, 1, 1)
    losses = tuple(
        replace(check, name=name, judgements=((name, Judgement("FAIL", name)),), measures=((name, measure),))
        for check, name in zip(full.losses, names, strict=False)
    )
    return replace(
        make_report(*name_ties(names), losses=losses, others=OtherLeaves(9, names)),
        device=names[0],
        checkpoint=Path(names[1]),
        original=Path(names[2]),
    )


def test_there_is_one_row_a_tie_with_all_its_figures() -> None:
    """Verdict, names, transform, reason, bytes, ulp, error and bound, norms, fits, leaf."""
    ties = (make_tie("head", "embed"), make_tie("gate", "mix", "AMBIGUOUS", "symmetric"), make_tie("w", "v", "FAIL"))
    page = verify_to_html(make_report(*ties))

    rows = re.findall(r'<tr id="tie-\d+".*?</tr>', page)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    good, bad = ["3.1e-16 / 3.6e-15", "41.2", "39.87"], ["2.5e-01 / 3.6e-15", "41.2", "39.87"]
    differ = "differ: 1 element, worst at [3, 5]"
    assert cells == [
        ["✓ PASS", "head", "embed", "same", "", "equal", "0", *good, "", "F32 64×64"],
        ["? AMBIGUOUS", "gate", "mix", "same", "symmetric", "equal", "0", *good, "transpose", "F32 64×64"],
        ["✗ FAIL", "w", "v", "same", "", differ, "1", *bad, "", "F32 64×64"],
    ]


def test_a_full_report_is_well_formed_and_names_everything() -> None:
    """Every element that is opened is closed, and every part of the report is there."""
    report = make_full_report()
    page = Page(verify_to_html(report))
    words = "".join(page.words)

    assert page.count("tr", **{"class": "fine"}) + page.count("tr", **{"class": "open"}) == len(report.ties)
    assert page.count("svg", **{"class": "graph"}) == page.count("svg", **{"class": "curves"}) == 1
    assert page.count("svg", **{"class": "histogram"}) == page.count("svg", **{"class": "heat"}) == 60
    for expected in ("REJECT", "cuda:0 (NVIDIA H200), float64", "perturbed 2", "norm.weight", "after 40 steps of adam"):
        assert expected in words


def test_what_is_not_there_takes_no_section() -> None:
    """A report of bytes alone has a table and a graph."""
    tie = replace(make_tie("head"), probe=None)
    page = verify_to_html(replace(make_report(tie), device="", original=None))

    anchors = [having.get("id") for tag, having in Page(page).elements if tag == "section"]
    assert anchors == ["ties", "graph", "verdicts"]
    assert "none computed" in page
    assert "judged by the digests in the manifest" in page


def test_a_manifest_that_does_not_parse_has_no_ties_to_show() -> None:
    """The answer still stands there."""
    report = replace(make_report(), judgement=Judgement("REJECT", "the manifest is damaged"))

    assert "no tie that could be verified" in verify_to_html(report)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_an_element_or_an_attribute(name: str) -> None:
    """The page of a hostile name has the same elements as that of a harmless one, and shows the name."""
    harmless = Page(verify_to_html(hostile_report(("harmless",) * 3)))
    hostile = Page(verify_to_html(hostile_report((name,) * 3)))

    def outline(page: Page) -> Counter[tuple[str, tuple[str, ...]]]:
        return Counter((tag, tuple(sorted(having))) for tag, having in page.elements)

    assert outline(hostile) == outline(harmless)
    assert escape(name) in "".join(hostile.words)


def test_the_page_asks_nobody_for_anything() -> None:
    """No script, no address but anchors within the page, and a policy that allows no more."""
    page = Page(verify_to_html(make_full_report()))

    links = [having[key] for _, having in page.elements for key in ("href", "src") if key in having]
    assert all(link is not None and (link.startswith("#") or link == "data:,") for link in links)
    assert page.count("script") == 0
    assert not [key for _, having in page.elements for key in having if key.startswith("on") or key == "style"]
    policy = next(having["content"] for tag, having in page.elements if "http-equiv" in having)
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_anchors_lead_somewhere() -> None:
    """Every link, and every label, has the element that it speaks of; no id stands twice."""
    page = Page(verify_to_html(make_full_report()))

    ids = [having["id"] for _, having in page.elements if "id" in having]
    wanted = {link[1:] for _, having in page.elements if (link := having.get("href") or "").startswith("#")}
    wanted |= {having["aria-labelledby"] or "" for _, having in page.elements if "aria-labelledby" in having}
    assert len(ids) == len(set(ids))
    assert wanted <= set(ids)


def test_what_scrolls_can_be_reached_with_the_keyboard() -> None:
    """Each scrolling part can have the focus, and says what it is."""
    page = Page(verify_to_html(make_full_report()))

    parts = [having for tag, having in page.elements if having.get("class") == "scroll"]
    assert len(parts) == 5
    assert all(having["tabindex"] == "0" and having["role"] == "region" and having["aria-label"] for having in parts)


def test_the_filter_is_offered_only_where_it_filters() -> None:
    """All passed, or none did: then there is nothing to leave out."""
    one, other = make_tie("a"), make_tie("b", verdict="FAIL")

    assert 'id="only"' in verify_to_html(make_report(one, other))
    assert 'id="only"' not in verify_to_html(make_report(one))
    assert 'id="only"' not in verify_to_html(make_report(other))


def test_a_page_of_hundreds_of_ties_stays_small() -> None:
    """Charts are drawn for the worst leaves only, and what is not drawn is counted."""
    ties = [make_tie(f"a.{at}.w", f"c.{at}.w", picture=paint(at)) for at in range(400)]
    page = verify_to_html(make_report(*ties))

    assert len(page) < 4 << 20
    assert "340 more leaves, closer still, not drawn." in page


def test_only_strings_that_we_made_are_markup() -> None:
    """A child that is a plain string is text, whatever stands in it."""
    assert element("p", "<b>", element("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"
    assert element("p", title='"><b>') == '<p title="&quot;&gt;&lt;b&gt;"></p>'
    assert element("input", checked=True, disabled=False, value=1.0) == '<input checked value="1">'
    assert text("\n") == "\\n"
