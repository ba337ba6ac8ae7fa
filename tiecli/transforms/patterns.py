"""Patterns: the text between quotes, einops `rearrange` notation, to a step and back."""

from __future__ import annotations

from collections.abc import Mapping

from tiecli.transforms.steps import MAX_RANK, Rearrange

_NAMES = "abcdefgh"


class PatternError(Exception):
    """Says what was expected in a pattern, and at which position of its text."""

    def __init__(self, position: int, expected: str) -> None:
        super().__init__(expected)
        self.position = position
        self.expected = expected


def parse_pattern(text: str, sizes: Mapping[str, int]) -> Rearrange:
    """Reads an einops pattern.

    Args:
        text: What stands between the quotes, such as `(h k) d -> h k d`.
        sizes: Lengths given by name.

    Raises:
        PatternError: It is no pattern; says where and what was expected.
        TransformSyntaxError: It is one that no leaf fits.

    Source: einops 0.8, `rearrange`; `...` is left out, since it hides the rank.
    """
    arrow = text.find("->")
    if arrow < 0:
        raise PatternError(len(text), "`->` between the two sides of the pattern")
    left = _parse_side(text, 0, arrow)
    right = _parse_side(text, arrow + 2, len(text))
    names = [name for group in left for name in group]
    on_right = [name for group in right for name in group]
    for name in names:
        if name not in on_right:
            raise PatternError(arrow + 2, f"axis `{name}` on the right side too")
    for name in on_right:
        if name not in names:
            raise PatternError(0, f"axis `{name}` on the left side too")
    for name in sizes:
        if name not in names:
            raise PatternError(len(text), f"sizes of axes of the pattern only, not of `{name}`")
    number = {name: axis for axis, name in enumerate(names)}
    return Rearrange(
        tuple(tuple(number[name] for name in group) for group in left),
        tuple(tuple(number[name] for name in group) for group in right),
        tuple(sizes.get(name) for name in names),
    )


def format_pattern(step: Rearrange) -> str:
    """Writes a pattern with the names `a`, `b`, … in the order of its left side.

    Example:
        >>> format_pattern(parse_pattern("(h k) d -> h k d", {"h": 8}))
        "'(a b) c -> a b c', a=8"
    """
    sizes = "".join(f", {_NAMES[axis]}={size}" for axis, size in enumerate(step.sizes) if size is not None)
    return f"'{format_sides(step)}'{sizes}"


def format_sides(step: Rearrange) -> str:
    """Writes the two sides alone, as einops reads them."""
    return f"{format_side(step.left)} -> {format_side(step.right)}"


def axis_name(axis: int) -> str:
    """The name that a numbered axis has in the text form."""
    return _NAMES[axis]


def format_side(side: tuple[tuple[int, ...], ...]) -> str:
    """Writes one side of a pattern."""
    return " ".join(_format_group(group) for group in side)


def _format_group(group: tuple[int, ...]) -> str:
    names = " ".join(_NAMES[axis] for axis in group)
    if not group:
        return "1"
    return names if len(group) == 1 else f"({names})"


def _parse_side(text: str, start: int, stop: int) -> list[list[str]]:
    groups: list[list[str]] = []
    seen: set[str] = set()
    inside = False
    position = start
    while position < stop:
        mark = text[position]
        if mark == "(" and not inside:
            groups.append([])
            inside, position = True, position + 1
        elif mark == ")" and inside:
            inside, position = False, position + 1
        elif mark == " ":
            position += 1
        else:
            name, end = _parse_axis(text, position, stop)
            if name in seen:
                raise PatternError(position, f"each axis once on a side, not `{name}` again")
            if not inside:
                groups.append([])
            if name != "1":
                seen.add(name)
                groups[-1].append(name)
            position = end
        if max(len(groups), len(seen)) > MAX_RANK:
            raise PatternError(position, f"at most {MAX_RANK} axes on a side")
    if inside:
        raise PatternError(stop, "a closing `)`")
    return groups


def _parse_axis(text: str, position: int, stop: int) -> tuple[str, int]:
    if text.startswith("...", position) or text[position] == "…":
        raise PatternError(position, "every axis by name, since `...` hides how many there are,")
    end = position
    while end < stop and (text[end] == "_" or (text[end].isascii() and text[end].isalnum())):
        end += 1
    name = text[position:end]
    if name != "1" and not (name and name[0].isalpha() and name[-1] != "_"):
        raise PatternError(position, "an axis name, `1`, or a group in `(` `)`")
    return name, end
