"""`docs/rules/` is what the rules say of themselves.

After a change: `python tests/golden/test_rule_pages.py` writes the pages anew.
"""

from __future__ import annotations

from pathlib import Path

from tiecli.linting.registry import list_rules
from tiecli.render.lint.pages import index_to_markdown, rule_to_markdown

PAGES = Path(__file__).parents[2] / "docs" / "rules"


def make_pages() -> dict[str, str]:
    """Gives every page by the name of its file."""
    rules = list_rules()
    return {"README.md": index_to_markdown(rules), **{f"{rule.code}.md": rule_to_markdown(rule) for rule in rules}}


def test_the_pages_are_generated_from_the_rules() -> None:
    """One a rule and one that lists them, and no other."""
    assert {page.name: page.read_text(encoding="utf-8") for page in PAGES.iterdir()} == make_pages()


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for page in PAGES.iterdir():
        page.unlink()
    for name, text in make_pages().items():
        (PAGES / name).write_text(text, encoding="utf-8")
