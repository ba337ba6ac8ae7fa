"""Naming: what the names of all leaves show at one cheap look, shared by the rules that go by names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tiecli.linting.listing import list_names

if TYPE_CHECKING:
    from tiecli.linting.subject import Subject


FEWEST_LAYERS = 4
"""Fewer are not compared with each other."""

_EIGHTH = 8
_NUMBERED = re.compile(r"^(.*?\.|)(0|[1-9][0-9]{0,8})\.(.*)$", re.MULTILINE)


class Naming(NamedTuple):
    """What the names show.

    Attributes:
        names: All of them, in the order of the files.
        forms: The names without their digits, each once, one a line, a line break before each:
            a hundred layers leave one.
        alone: Those that no other name is like but for its digits; never one of many like layers.
        uneven: Whether some leaf of a repeated layer may be missing in one of them.
    """

    names: tuple[str, ...]
    forms: bytes
    alone: tuple[str, ...]
    uneven: bool


def read_names(subject: Subject) -> Naming:
    """Looks at the names of all leaves once."""
    names = tuple(list_names(subject))
    forms = _delete_digits("\n".join(names)).split(b"\n")
    if len(forms) != len(names):
        forms = [_delete_digits(name) for name in names]
    counts = Counter(forms)
    by_form = dict(zip(forms, names, strict=True))
    alone = tuple(by_form[form] for form, count in counts.items() if count == 1)
    return Naming(names, b"\n" + b"\n".join(counts), alone, any(_find_uneven(counts)))


def is_few(count: int, of: int) -> bool:
    """Whether so many layers may be exceptions among others of one kind: one, or an eighth."""
    return count <= max(1, of // _EIGHTH)


def _delete_digits(text: str) -> bytes:
    # A tenth of what an expression would cost.
    return text.encode("utf-8", "surrogatepass").translate(None, b"0123456789")


def _find_uneven(counts: Mapping[bytes, int]) -> Iterator[bool]:
    """Says of each stack of layers whether some leaf may be there a little less often than others."""
    stacks: dict[bytes, tuple[list[int], list[int]]] = {}
    for form, count in counts.items():
        stack, dots, rest = form.partition(b"..")
        if dots:
            # With a second number in it, a form stands for the leaves of all experts of all layers.
            stacks.setdefault(stack, ([], []))[b".." in rest].append(count)
    for plain, nested in stacks.values():
        usual = Counter(plain or nested).most_common(1)[0][0]
        # Two leaves whose names differ in a digit count twice.
        kinds = sorted({count for count in plain if count % usual})
        yield any(is_few(-count % usual, usual) for count in kinds)
        yield any(is_few(more - fewer, more) for fewer, more in pairwise(sorted({usual, *kinds})))
        # Where layers are of several kinds, numbers do not tell how often experts ought to be there.
        yield any(kinds or count % usual for count in nested)


class Layer(NamedTuple):
    """The leaves of one layer: what their names hold behind its number.

    Attributes:
        stack: What stands before the number, its dot included.
        number: Which one.
        rests: What stands behind, by leaf.
    """

    stack: str
    number: int
    rests: frozenset[str]

    def spell(self, rest: str) -> str:
        """Spells the name of a leaf of this layer."""
        return f"{self.stack}{self.number}.{rest}"


def list_stacks(names: Sequence[str]) -> Iterator[tuple[Layer, ...]]:
    """Lists runs of layers, each in order: names that differ in their first number, or in the second if those are few.

    Example:
        >>> [layer.number for run in list_stacks(["h.0.w", "h.1.w", "h.2.w", "h.10.w", "x.w"]) for layer in run]
        [0, 1, 2, 10]
    """
    for stack, layers in _group(names).items():
        if len(layers) >= FEWEST_LAYERS:
            yield _sort(stack, layers)
            continue
        for number, rests in layers.items():
            for inner, found in _group(sorted(rests)).items():
                if len(found) >= FEWEST_LAYERS:
                    yield _sort(f"{stack}{number}.{inner}", found)


def _group(names: Sequence[str]) -> dict[str, dict[int, set[str]]]:
    """Groups what stands behind the first number of each name by what stands before it, and by the number."""
    # One search through all names costs half of one search in each; those that hold a line break are left out.
    text = "\n".join(names)
    if text.count("\n") >= len(names):
        text = "\n".join(name for name in names if "\n" not in name)
    stacks: dict[str, dict[int, set[str]]] = {}
    for found in _NUMBERED.finditer(text):
        stack, number, rest = found.groups()
        stacks.setdefault(stack, {}).setdefault(int(number), set()).add(rest)
    return stacks


def _sort(stack: str, layers: Mapping[int, set[str]]) -> tuple[Layer, ...]:
    return tuple(Layer(stack, number, frozenset(layers[number])) for number in sorted(layers))
