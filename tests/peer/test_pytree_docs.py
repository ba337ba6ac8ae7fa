"""The Python of docs/pytrees.md, and of the pages for those who come from elsewhere, runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"(?<=^```python\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
NEEDED = {
    "pytrees.md": [],
    "from-equinox.md": ["equinox"],
    "from-sepes.md": ["sepes"],
    "from-pcax.md": ["pcx"],
    "from-nemo.md": ["torch"],
}


def test_every_page_is_run() -> None:
    """A page for those who come from another framework is not forgotten."""
    assert {page.name for page in DOCS.glob("from-*.md")} <= NEEDED.keys()


@pytest.mark.parametrize("page", NEEDED)
def test_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, in one module; what they say of gradients and of files holds."""
    for name in ("jax", "optax", *NEEDED[page]):
        pytest.importorskip(name, reason=f"docs/{page} shows {name}")
    monkeypatch.chdir(tmp_path)

    text = run_blocks(DOCS / page)

    assert text.count("\nassert ") >= 4
    assert "grad" in text


def test_the_example_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fixture that it names."""
    pytest.importorskip("jax", reason="README.md shows jax")
    monkeypatch.chdir(DOCS.parent)

    assert "expand(tied, ties)" in run_blocks(Path("README.md"))


def run_blocks(page: Path) -> str:
    """Runs all blocks of Python of a page, and gives its text."""
    text = page.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCK.finditer(text):
        code = "\n" * text[: block.start()].count("\n") + block[0]
        exec(compile(code, str(page), "exec", dont_inherit=True), names)
    return text
