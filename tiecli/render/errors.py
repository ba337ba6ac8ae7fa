"""Rendering errors: one line what is wrong, one line a hint."""

from __future__ import annotations

from tiecli.errors import TiecliError
from tiecli.render.lines import Line, line

SCHEMA = "tiecli.error/1"


def error_to_text(error: TiecliError) -> list[Line]:
    """Shows an error and its hints."""
    head = line(("error:", "error"), f" {_one_line(error.message)}")
    return [head, *(line(("hint:", "hint"), f" {_one_line(hint)}") for hint in error.hints)]


def error_to_json(error: TiecliError) -> dict[str, object]:
    """Gives an error as data; see docs/schemas/error.schema.json."""
    body = {"code": error.code, "message": error.message, "hints": list(error.hints)}
    return {"schema": SCHEMA, "error": body}


def _one_line(text: str) -> str:
    # Names come from untrusted files: control characters must not reach a terminal.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
