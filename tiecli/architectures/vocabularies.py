"""Vocabularies: where a config says how many tokens a model knows, and which numbers of rows that allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tiecli.architectures.classes import count_extra_rows
from tiecli.architectures.configs import NESTED_KEYS, class_names

KEY = "vocab_size"
_DEPTH = 3
# Tables of segments and the like, which go by a name of their own.
_OTHER_TABLES = frozenset({"type_vocab_size", "task_type_vocab_size", "modality_type_vocab_size"})
# Source: transformers 5.23.0, every class built from its default config: of these the outer number is not the inner.
_APART = frozenset({"Ovis2ForConditionalGeneration", "Ovis2Model"})


class Vocabulary(NamedTuple):
    """One place in a config that gives the number of tokens.

    Attributes:
        place: The keys that lead to the object; `()` is the root.
        size: The number.
    """

    place: tuple[str, ...]
    size: int

    def __str__(self) -> str:
        return ".".join((*self.place, KEY))


class Vocabularies(NamedTuple):
    """All that a config says about vocabularies.

    Attributes:
        stated: What the root, and the config of the language model in it, say.
        sizes: Every number that an embedding may have as its rows.
        is_open: Whether a table may have more rows than `stated` says: several vocabularies
            may share it, or the class adds rows.
        is_one: Whether it is the root and one nested config that say so, and both ought to say the same.
    """

    stated: tuple[Vocabulary, ...]
    sizes: frozenset[int]
    is_open: bool
    is_one: bool


def read_vocabularies(document: Mapping[str, Any]) -> Vocabularies:
    """Reads what a config says about vocabularies, whatever it holds.

    Example:
        >>> found = read_vocabularies({"vocab_size": 64, "text_config": {"vocab_size": 72}})
        >>> [str(each) for each in found.stated], sorted(found.sizes)
        (['vocab_size', 'text_config.vocab_size'], [64, 72])
    """
    found = dict(_find_sizes(document, (), _DEPTH))
    stated = tuple(
        Vocabulary(place, found[(*place, KEY)])
        for place in ((), *((key,) for key in NESTED_KEYS))
        if (*place, KEY) in found
    )
    sizes = set(found.values())
    multiple = document.get("pad_vocab_size_multiple")
    if type(multiple) is int and multiple > 0:
        sizes |= {-(-size // multiple) * multiple for size in sizes}
    names = class_names(document)
    extra = max(map(count_extra_rows, names), default=0)
    several = any(path[-1] != KEY and path[-1] not in _OTHER_TABLES for path in found)
    is_open = several or extra > 0
    is_one = len(stated) == 2 and not stated[0].place and not is_open and _APART.isdisjoint(names)
    return Vocabularies(stated, frozenset(sizes), is_open, is_one)


def _find_sizes(
    section: Mapping[str, Any], place: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Finds every number under a key such as `decoder_vocab_size`, down to some depth."""
    for key, value in section.items():
        if type(value) is int:
            if value > 0 and key.endswith(KEY):
                yield (*place, key), value
        elif isinstance(value, dict) and depth:
            yield from _find_sizes(value, (*place, key), depth - 1)
