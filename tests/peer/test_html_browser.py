"""The page of `verify --html` in headless Chromium: it shows all, asks nobody, and runs nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.render.verdict_reports import HOSTILE, make_full_report, make_report, make_tie, paint
from tiecli.cli.entry import main
from tiecli.render.html import verify_to_html
from tiecli.verification.verdicts import OtherLeaves, VerifyReport

FIXTURES = Path(__file__).parents[2] / "fixtures"
# One is root here and there, in a container without the kernel's sandbox; and nothing may look for a network.
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium as the system has it, driven by playwright, or skip."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra `peer`")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: `apt-get install chromium`")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, and what it did besides being shown."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(address)

    def count(self, selector: str) -> int:
        """How many elements there are."""
        return int(self.page.locator(selector).count())


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Opens the page of a report as a file, as a reviewer would."""
    contexts = []

    def open_page(report: VerifyReport, **options: Any) -> Visit:
        file = tmp_path / "report.html"
        file.write_text(verify_to_html(report), encoding="utf-8")
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        visited = Visit(context.new_page(), file.as_uri())
        assert visited.requests == [file.as_uri()]
        return visited

    yield open_page
    for context in contexts:
        context.close()


def test_the_page_shows_the_whole_report(visit: Callable[..., Visit]) -> None:
    """One row a tie, charts with something in them, and not a word on the console."""
    report = make_full_report()
    opened = visit(report)

    assert opened.page.title().startswith("REJECT: runs/tied.safetensors")
    assert opened.count("#ties tbody tr") == len(report.ties)
    assert opened.count("svg.graph path.edge") == 9
    assert opened.count("svg.histogram") == opened.count("svg.heat") == 60
    assert opened.count("svg.curves polyline") == 2
    assert opened.complaints == []


def test_a_verification_can_be_looked_at(browser: Any, tmp_path: Path) -> None:
    """From the command to the screen: a pair that had drifted apart, with pictures of where."""
    pytest.importorskip("jax", reason="jax comes with the extra `verify`")
    original, tied, file = FIXTURES / "gpt2-drifted", tmp_path / "tied", tmp_path / "verify.html"
    sides = ["--src", "transformer.wte.weight", "--dst", "lm_head.weight", "--keep", "src"]
    assert main(["tie", str(original), *sides, "-o", str(tied)]) == 0
    assert main(["verify", str(tied), "--original", str(original), "--html", str(file)]) == 1
    context = browser.new_context(offline=True)
    opened = Visit(context.new_page(), file.as_uri())
    row, captions = opened.page.locator("#tie-0").inner_text(), opened.page.locator("figcaption").all_inner_texts()
    marked = opened.count(".bar.over"), opened.count(".heat5")
    context.close()

    assert "FAIL" in row
    assert "40 of 2,048 elements differ" in row
    assert len(captions) == 1
    assert "2,008 of 2,048 elements equal" in captions[0]
    assert min(marked) >= 1
    assert opened.complaints == []


def test_every_chart_takes_up_room(visit: Callable[..., Visit]) -> None:
    """An SVG that is not drawn has no size, or nothing that is painted."""
    opened = visit(make_full_report())

    sizes = opened.page.eval_on_selector_all(
        "main svg", "all => all.map(svg => [svg.getBoundingClientRect(), svg.getBBox()]).map("
        "([box, drawn]) => [box.width, box.height, drawn.width, drawn.height])"
    )  # fmt: skip
    assert len(sizes) == 129
    assert min(min(size) for size in sizes) > 0
    painted = opened.page.evaluate("getComputedStyle(document.querySelector('.bar.over')).fill")
    assert re.fullmatch(r"rgb\(\d+, \d+, \d+\)", painted)
    assert painted != "rgb(0, 0, 0)"


@pytest.mark.parametrize("width", [360, 1280])
def test_only_parts_of_the_page_scroll_sideways(visit: Callable[..., Visit], width: int) -> None:
    """On a telephone, too."""
    opened = visit(make_full_report(), viewport={"width": width, "height": 700})

    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_light_and_dark_are_both_readable(visit: Callable[..., Visit]) -> None:
    """Text stands out from the paper by 4.5 to 1 at least, in every colour that words have."""
    for scheme in ("light", "dark"):
        page = visit(make_full_report(), color_scheme=scheme).page
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        words = ["body", "dt", "a", ".answer", "td.pass", "td.vacuous", "td.fail", ".overline"]
        for selector in words:
            ink = page.evaluate("selector => getComputedStyle(document.querySelector(selector)).color", selector)
            assert contrast(paper, ink) >= 4.5, (scheme, selector)


def contrast(first: str, second: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        shares = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_keyboard_reaches_filter_table_graph_and_details(visit: Callable[..., Visit]) -> None:
    """With the tabulator to each, with the space bar and return to use them."""
    page = visit(make_full_report()).page

    def press_until(selector: str) -> None:
        for _ in range(200):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is never reached")

    press_until("#only")
    page.keyboard.press("Space")
    assert page.locator("#ties tbody tr:visible").count() == 4
    page.keyboard.press("Space")
    press_until("#ties .scroll")
    press_until("#graph .scroll")
    press_until("#graph a")
    page.keyboard.press("Enter")
    assert page.url.endswith("#tie-0")
    press_until("#losses summary")
    page.keyboard.press("Enter")
    assert page.locator("#losses details table").is_visible()


def test_names_from_a_file_do_nothing_but_stand_there(visit: Callable[..., Visit]) -> None:
    """Hostile names everywhere: none runs, none loads, each is shown."""
    ties = [make_tie(name, name, "FAIL", name, transform=name, picture=paint(1)) for name in HOSTILE]
    opened = visit(make_report(*ties, others=OtherLeaves(len(HOSTILE), HOSTILE)))
    opened.page.locator("th", has_text="onmouseover").first.hover()

    assert opened.page.title().startswith("FAIL:")
    assert opened.count("#ties tbody tr") == opened.count("#others li") == len(HOSTILE)
    assert opened.count("script, img, main [onerror], main [onload], main [onmouseover]") == 0
    assert opened.page.locator("#others li").first.inner_text() == HOSTILE[0]
    assert opened.complaints == []


def test_even_markup_that_slipped_through_could_not_run(browser: Any, tmp_path: Path) -> None:
    """The page's own policy refuses scripts, handlers and loads."""
    page = verify_to_html(make_report(make_tie("head")))
    evil = "<script>document.title='owned'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='owned'\">"
    file = tmp_path / "evil.html"
    file.write_text(page.replace("</body>", f"{evil}</body>"), encoding="utf-8")
    context = browser.new_context()
    opened = Visit(context.new_page(), file.as_uri())
    title = opened.page.title()
    context.close()

    assert title.startswith("PASS:")
    assert [complaint for complaint in opened.complaints if "Content Security Policy" in complaint]
