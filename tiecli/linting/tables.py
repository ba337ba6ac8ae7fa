"""Tables: stored leaves with one row a token, by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from tiecli.architectures.roles import find_role

if TYPE_CHECKING:
    from tiecli.linting.subject import Subject

# What these are called is also the name of other things: of patches, positions, frames.
_VAGUE = frozenset({"embed", "embeddings"})


class Table(NamedTuple):
    """A leaf with one row a token.

    Attributes:
        leaf: Its name.
        rows: How many it has.
        columns: The length of its other axis.
    """

    leaf: str
    rows: int
    columns: int


def list_tables(subject: Subject) -> tuple[Table, ...]:
    """Lists the input embeddings of tokens; one with a vague name only where it is alone."""
    found = tuple(_find_tables(subject))
    sure = tuple(table for table in found if _last_word(table.leaf) not in _VAGUE)
    return sure or found[: len(found) == 1]


def _find_tables(subject: Subject) -> Iterator[Table]:
    for name in subject.naming.alone:
        role = find_role(name)
        # Deeper down, `shared` is an expert.
        if role != "embedding" and not (role == "shared" and name.count(".") <= 2):
            continue
        spec = subject.specs.get(name)
        # Quantised weights are packed along either axis, so that their rows say nothing.
        if spec is not None and len(spec.shape) == 2 and spec.dtype.kind == "float":
            yield Table(name, *spec.shape)


def _last_word(name: str) -> str:
    words = name.split(".")
    return words[-2] if words[-1] == "weight" and len(words) > 1 else words[-1]
