"""Pairs of a class: every tie that a `config.json` speaks of, whichever way, for a checkpoint in any state."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from tiecli.architectures.configs import FLAG, NESTED_KEYS, find_class, flag_at, read_flag
from tiecli.architectures.roles import find_role, named_like_ties


class KnownPair(NamedTuple):
    """Two leaves that a model ties or keeps apart, as its flag says.

    Attributes:
        alias: The leaf that would follow, in the spelling that fits the stored names.
        canonical: The leaf it would follow from; neither need be stored.
        newer: Whether transformers 5 ties them.
        older: Whether transformers 4 does.
        origin: Where that stands, for people.
        guessed: Whether names alone make them a pair, because the class is not known.
    """

    alias: str
    canonical: str
    newer: bool
    older: bool
    origin: str
    guessed: bool = False


def known_pairs(document: Mapping[str, Any], names: Collection[str]) -> tuple[KnownPair, ...]:
    """Lists the pairs of the config's class, or for an unknown class those that the names suggest.

    Args:
        document: `config.json`, whatever it holds.
        names: The on-disk names of all leaves.

    Example:
        >>> config = {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}
        >>> [(pair.alias, pair.newer) for pair in known_pairs(config, ["model.embed_tokens.weight"])]
        [('lm_head.weight', False)]
    """
    model_class = find_class(document)
    if model_class is None:
        return tuple(_guess_pairs(document, names))
    reading = read_flag(document, model_class)
    origin = f"config.json: {reading.place}"
    return tuple(
        KnownPair(alias, canonical, reading.newer, reading.older, origin)
        for alias, canonical in model_class.spell(names)
    )


def _guess_pairs(document: Mapping[str, Any], names: Collection[str]) -> Iterator[KnownPair]:
    """Pairs up stored heads and embeddings, where the config has the flag at all."""
    places = {place: flag_at(document, place) for place in ((), *((key,) for key in NESTED_KEYS))}
    given = {place: value for place, value in places.items() if value is not None}
    if not given:
        return
    at = next((place for place, value in given.items() if value), next(iter(given)))
    tied = bool(given[at])
    origin = f"config.json: {'.'.join((*at, FLAG))} is {'true' if tied else 'false'}, and the names fit"
    for canonical, alias in named_like_ties(names):
        if find_role(alias) == "head":
            yield KnownPair(alias, canonical, tied, all(given.values()), origin, guessed=True)
