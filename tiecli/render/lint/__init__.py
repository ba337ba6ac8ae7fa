"""Rendering what the linter found: for people, for programs, and for the places where CI shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Literal

from tiecli.linting.report import LintReport

Style = Literal["text", "full", "json", "jsonl", "github", "gitlab", "junit", "sarif"]

_RENDERERS: Mapping[Style, tuple[str, str]] = {
    "text": ("text", "render_text"),
    "full": ("text", "render_full"),
    "json": ("records", "render_json"),
    "jsonl": ("records", "render_jsonl"),
    "github": ("github", "render_github"),
    "gitlab": ("gitlab", "render_gitlab"),
    "junit": ("junit", "render_junit"),
    "sarif": ("sarif", "render_sarif"),
}
STYLES: tuple[Style, ...] = tuple(_RENDERERS)
"""Every output format."""


def render_lint(report: LintReport, style: Style) -> str:
    """Gives a report as text in one of the formats, ended by a newline if it is not empty."""
    # One run needs one of them.
    module, name = _RENDERERS[style]
    renderer: Callable[[LintReport], str] = getattr(import_module(f"tiecli.render.lint.{module}"), name)
    return renderer(report)
