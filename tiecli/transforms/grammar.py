"""Grammar: the text of a transform to its steps and back, without evaluating anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import assert_never

from tiecli.errors import TransformSyntaxError
from tiecli.leaves import DTYPES, find_dtype
from tiecli.transforms.patterns import PatternError, format_pattern, parse_pattern
from tiecli.transforms.scanning import DIGITS, HINT, Scanner, parse_number
from tiecli.transforms.steps import (
    MAX_STEPS,
    Cast,
    Concat,
    Conjugate,
    Flip,
    Index,
    Item,
    Negate,
    Pad,
    Permute,
    Range,
    Rearrange,
    Repeat,
    Reshape,
    Scale,
    Slice,
    Stack,
    Step,
)

MAX_TEXT = 16_384
"""Longest text that is read at all; the longest canonical text is shorter."""


def parse_steps(text: str) -> tuple[Step, ...]:
    """Reads the steps of a transform as they are written; `same` leaves none.

    Raises:
        TransformSyntaxError: The text is no transform; says where and what was expected.
    """
    if len(text) > MAX_TEXT:
        raise TransformSyntaxError(f"a transform of {len(text)} characters is too long, expected at most {MAX_TEXT}")
    scanner = Scanner(text)
    steps: list[Step] = []
    for count in range(1, MAX_STEPS + 2):
        scanner.skip_spaces()
        start = scanner.position
        if count > MAX_STEPS:
            raise scanner.error(f"at most {MAX_STEPS} steps", start)
        step = _parse_step(scanner)
        if isinstance(step, Concat | Stack) and steps:
            raise scanner.error(f"`{format_step(step)}`, which takes several sources, to be the first step,", start)
        if step is not None:
            steps.append(step)
        if not scanner.accept("|"):
            break
    if scanner.position < len(text):
        raise scanner.error("`|` or the end")
    return tuple(steps)


def format_steps(steps: tuple[Step, ...]) -> str:
    """Writes steps as text; `same` for none."""
    return " | ".join(map(format_step, steps)) or "same"


def format_step(step: Step) -> str:  # noqa: C901, PLR0911, PLR0912  # one case a step
    """Writes one step as text."""
    match step:
        case Permute(axes):
            return "transpose" if axes == (1, 0) else f"transpose({_join(axes)})"
        case Rearrange():
            return format_pattern(step)
        case Slice(head, tail):
            items = [*map(_format_item, head), *(["..."] if tail else []), *map(_format_item, tail)]
            return f"[{', '.join(items) or '...'}]"
        case Reshape(shape):
            return f"reshape({_join(shape)})"
        case Flip(axis):
            return f"flip({axis})"
        case Pad(axis, before, after):
            return f"pad({axis},{before},{after})"
        case Repeat(axis, count):
            return f"repeat({axis},{count})"
        case Concat(axis):
            return f"concat({axis})"
        case Stack(axis):
            return f"stack({axis})"
        case Scale(factor):
            return f"scale({_format_hex(factor)})"
        case Negate():
            return "neg"
        case Cast(dtype):
            return f"cast({dtype})"
        case Conjugate():
            return "conj"
        case _:
            assert_never(step)


def _join(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _format_item(item: Item) -> str:
    if isinstance(item, Index):
        return str(item.at)
    start, stop = ("" if bound is None else str(bound) for bound in (item.start, item.stop))
    return f"{start}:{stop}" if item.step == 1 else f"{start}:{stop}:{item.step}"


def _format_hex(factor: float) -> str:
    mantissa, _, exponent = factor.hex().partition("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}"


def _parse_step(scanner: Scanner) -> Step | None:
    scanner.skip_spaces()
    start = scanner.position
    try:
        if scanner.accept("'"):
            return _parse_rearrange(scanner)
        if scanner.accept("["):
            return _parse_slice(scanner)
        name = scanner.word()
        if name == "same":
            return None
        if name not in _STEP_PARSERS:
            raise scanner.error("a step", start)
        return _STEP_PARSERS[name](scanner)
    except TransformSyntaxError as error:
        if error.hints:
            raise
        # A step that refuses its own arguments does not know where they stand.
        message = f"`{scanner.shown}` is no transform: at position {start}, {error.message}"
        raise TransformSyntaxError(message, HINT) from None


def _parse_integers(scanner: Scanner, count: int | None = None) -> tuple[int, ...]:
    scanner.expect("(")
    values: list[int] = []
    if not scanner.accept(")"):
        values.append(scanner.integer())
        while scanner.accept(","):
            values.append(scanner.integer())
        scanner.expect(")")
    if count is not None and len(values) != count:
        raise scanner.error(f"{count} argument{'s' * (count > 1)}, found {len(values)},")
    return tuple(values)


def _parse_transpose(scanner: Scanner) -> Permute:
    scanner.skip_spaces()
    if scanner.mark != "(":
        return Permute((1, 0))
    axes = _parse_integers(scanner)
    rank = len(axes)
    return Permute(tuple(axis + rank if -rank <= axis < 0 else axis for axis in axes))


def _parse_scale(scanner: Scanner) -> Scale:
    scanner.expect("(")
    scanner.skip_spaces()
    start = scanner.position
    negative = scanner.accept("-")
    scanner.skip_spaces()
    try:
        factor = parse_number(scanner)
    except (OverflowError, ZeroDivisionError):
        raise scanner.error("a finite number", start) from None
    if not 0 < factor < float("inf"):
        raise scanner.error("a finite number that is not zero", start)
    scanner.expect(")")
    return Scale(-factor if negative else factor)


def _parse_cast(scanner: Scanner) -> Cast:
    scanner.expect("(")
    scanner.skip_spaces()
    start = scanner.position
    dtype = find_dtype(scanner.word())
    if dtype is None:
        raise scanner.error(f"a dtype, one of {', '.join(DTYPES)},", start)
    scanner.expect(")")
    return Cast(dtype)


def _parse_slice(scanner: Scanner) -> Slice:
    sides: list[list[Item]] = [[]]
    while True:
        scanner.skip_spaces()
        start = scanner.position
        if scanner.text.startswith("...", start):
            if len(sides) > 1:
                raise scanner.error("one `...` at most", start)
            scanner.position += 3
            sides.append([])
        else:
            sides[-1].append(_parse_item(scanner))
        if not scanner.accept(","):
            break
    scanner.expect("]")
    return Slice(*map(tuple, sides))


def _parse_item(scanner: Scanner) -> Item:
    bounds: list[int | None] = []
    for _ in range(3):
        scanner.skip_spaces()
        bounds.append(scanner.integer() if scanner.mark and scanner.mark in "-" + DIGITS else None)
        if not scanner.accept(":"):
            break
    else:
        raise scanner.error("at most two `:` in a slice")
    if len(bounds) == 1:
        if bounds[0] is None:
            raise scanner.error("a slice such as `:5`, an integer, or `...`")
        return Index(bounds[0])
    start, stop, step = (*bounds, None)[:3]
    return Range(start, stop, 1 if step is None else step)


def _parse_rearrange(scanner: Scanner) -> Rearrange:
    start = scanner.position
    end = scanner.text.find("'", start)
    if end < 0:
        raise scanner.error("a closing `'`", len(scanner.text))
    scanner.position = end + 1
    sizes: dict[str, int] = {}
    while scanner.accept(","):
        scanner.skip_spaces()
        at = scanner.position
        name = scanner.word()
        if not name or name in sizes:
            raise scanner.error("an axis and its size, each once", at)
        scanner.expect("=")
        sizes[name] = scanner.integer()
    try:
        return parse_pattern(scanner.text[start:end], sizes)
    except PatternError as error:
        raise scanner.error(error.expected, start + error.position) from None


_STEP_PARSERS: Mapping[str, Callable[[Scanner], Step]] = MappingProxyType(
    {
        "transpose": _parse_transpose,
        "reshape": lambda scanner: Reshape(_parse_integers(scanner)),
        "flip": lambda scanner: Flip(*_parse_integers(scanner, 1)),
        "pad": lambda scanner: Pad(*_parse_integers(scanner, 3)),
        "repeat": lambda scanner: Repeat(*_parse_integers(scanner, 2)),
        "concat": lambda scanner: Concat(*_parse_integers(scanner, 1)),
        "stack": lambda scanner: Stack(*_parse_integers(scanner, 1)),
        "scale": _parse_scale,
        "neg": lambda _: Negate(),
        "cast": _parse_cast,
        "conj": lambda _: Conjugate(),
    }
)
