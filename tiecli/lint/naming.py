"""Naming: what the names of all leaves show at one cheap look, shared by the rules that go by names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tiecli.lint.listing import list_names

if TYPE_CHECKING:
    from tiecli.lint.subject import Subject


_EIGHTH = 8


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
    """Says of each stack of layers whether some leaf is there a little less often than others."""
    stacks: dict[bytes, list[tuple[int, bool]]] = {}
    for form, count in counts.items():
        stack, dots, rest = form.partition(b"..")
        if dots and count > 1:
            # With a second number in it, a form stands for the leaves of all experts of a layer.
            stacks.setdefault(stack, []).append((count, b".." in rest))
    for found in stacks.values():
        usual = Counter(count for count, _ in found).most_common(1)[0][0]
        kinds = set(found)
        yield len(kinds) > 1 and any(
            rest and (nested or is_few(rest, usual)) for rest, nested in ((-count % usual, it) for count, it in kinds)
        )
        # Layers of a rarer kind are held against each other.
        single = sorted(count for count, nested in kinds if not nested)
        yield any(is_few(more - fewer, more) for fewer, more in pairwise(single))


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
    """Lists runs of layers: names that differ in their first number, or in their second, each run in order."""
    stacks: dict[str, dict[int, set[str]]] = {}
    for name in names:
        for stack, number, rest in _split(name):
            stacks.setdefault(stack, {}).setdefault(number, set()).add(rest)
    for stack, layers in stacks.items():
        yield tuple(Layer(stack, number, frozenset(layers[number])) for number in sorted(layers))


def _split(name: str) -> Iterator[tuple[str, int, str]]:
    """Splits a name at its first number, and at its second."""
    start = found = 0
    while found < 2 and (dot := name.find(".", start)) >= 0:
        part = name[start:dot]
        if part.isdecimal() and part.isascii() and len(part) < 10:
            found += 1
            yield name[:start], int(part), name[dot + 1 :]
        start = dot + 1
