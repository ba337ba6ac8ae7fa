"""Path globs: which files and directories a pattern means, where the shell did not say it."""

from __future__ import annotations

import re
from functools import lru_cache

MAGIC = re.compile(r"[*?[]")


@lru_cache(256)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """Turns a glob into an expression for whole paths, slashes between their parts.

    `*` and `?` stay within one part, `**` stands for any number of parts, `[ab]` for one of
    some characters; a pattern that names a directory matches what is in it, too.

    Example:
        >>> bool(compile_glob("runs/**/best").fullmatch("runs/7/a/best/model.safetensors"))
        True
        >>> bool(compile_glob("runs/*").fullmatch("old/runs/7"))
        False
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    source = "/" if pattern.startswith("/") else ""
    for position, part in enumerate(parts):
        if part == "**":
            source += r"(?:[^/]+/)*"
        else:
            source += _translate_part(part) + "/" * (position < len(parts) - 1)
    # What follows a name is either nothing, or something inside.
    ending = r"[^/]+(?:/.*)?" if parts and parts[-1] == "**" else r"(?:/.*)?"
    return re.compile(source + ending, re.DOTALL)


def matches_path(pattern: str, path: str, base: str) -> bool:
    """Whether a glob of a settings file means a path, or a directory that it lies in.

    A pattern without a slash is held against every part of the path; one with a slash
    against the whole of it, counted from the directory of the settings file.

    Args:
        pattern: The glob.
        path: Absolute.
        base: The directory of the settings file, absolute.

    Example:
        >>> matches_path("*.bak", "/work/runs/a.bak/model.safetensors", "/work")
        True
        >>> matches_path("runs/a*", "/work/runs/a.bak", "/work"), matches_path("a*", "/work/a/runs", "/else")
        (True, True)
    """
    inside = path.removeprefix(base.rstrip("/") + "/")
    expression = compile_glob(pattern)
    if "/" not in pattern.rstrip("/"):
        return any(expression.fullmatch(part) for part in inside.split("/"))
    return expression.fullmatch(path if pattern.startswith("/") else inside) is not None


def _translate_part(part: str) -> str:
    source = ""
    position = 0
    while position < len(part):
        mark = part[position]
        # A closing bracket that stands first is one of the characters.
        end = part.find("]", position + 2 + part.startswith("[!", position)) if mark == "[" else -1
        if end > 0:
            source += _translate_class(part[position + 1 : end])
            position = end
        else:
            source += {"*": r"[^/]*", "?": r"[^/]"}.get(mark) or re.escape(mark)
        position += 1
    return source


def _translate_class(inside: str) -> str:
    negated = inside.startswith("!")
    marks = re.sub(r"([\\^\[\]])", r"\\\1", inside[negated:])
    source = f"[{'^' * negated}{marks}]"
    try:
        re.compile(source)
    except re.error:
        # A range that runs backwards is no range.
        return re.escape(f"[{inside}]")
    return source
