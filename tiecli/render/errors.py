"""Rendering errors: one line what is wrong, one line a hint."""

from __future__ import annotations

from tiecli.errors import TiecliError
from tiecli.render.lines import Line, line

SCHEMA = "tiecli.error/1"


def error_to_text(error: TiecliError) -> list[Line]:
    """Shows an error and its hints."""
    head = line(("error:", "error"), f" {error.message}")
    return [head, *(line(("hint:", "hint"), f" {hint}") for hint in error.hints)]


def error_to_json(error: TiecliError) -> dict[str, object]:
    """Gives an error as data; see docs/schemas/error.schema.json."""
    body = {"code": error.code, "message": error.message, "hints": list(error.hints)}
    return {"schema": SCHEMA, "error": body}
