"""Flags: what to change in `config.json` so that every release ties a model's leaves, or keeps them apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tiecli.architectures.configs import FLAG, NESTED_KEYS, find_class, flag_at, read_flag
from tiecli.linting.edits import SetMember

Place = tuple[str, ...]


def edit_flag(config: Mapping[str, Any], *, tied: bool) -> tuple[SetMember, ...]:
    """Lists the edits that make the flag say one thing to transformers 4 and 5 alike.

    Args:
        config: `config.json`, whatever it holds.
        tied: What it is to say.

    Returns:
        As few as will do; none if no flag decides, or if it decides more than the tie.

    Example:
        >>> edit_flag({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}, tied=False)
        (SetMember(file='config.json', place=(), key='tie_word_embeddings', value='false'),)
    """
    model_class = find_class(config)
    if model_class is None:
        given = [place for place in ((), *((key,) for key in NESTED_KEYS)) if flag_at(config, place) is not None]
        return tuple(_set(place, tied) for place in given if flag_at(config, place) is not tied)
    if model_class.scales:
        return ()
    for places in _choices(config, model_class.nested):
        reading = read_flag(_change(config, places, tied), model_class)
        if reading.newer is reading.older is tied:
            return tuple(_set(place, tied) for place in places if flag_at(config, place) is not tied)
    return ()


def _choices(config: Mapping[str, Any], nested: str) -> Iterator[tuple[Place, ...]]:
    """Yields where the flag may be set, those places first that have it."""
    has_inner = bool(nested) and isinstance(config.get(nested), dict)
    places: list[Place] = [(), (nested,)] if has_inner else [()]
    given = tuple(place for place in places if flag_at(config, place) is not None)
    yield from filter(None, (given, *((place,) for place in places), tuple(places)))


def _change(config: Mapping[str, Any], places: tuple[Place, ...], tied: bool) -> Mapping[str, Any]:
    changed = dict(config)
    for place in places:
        if place:
            changed[place[0]] = {**changed[place[0]], FLAG: tied}
        else:
            changed[FLAG] = tied
    return changed


def _set(place: Place, tied: bool) -> SetMember:
    return SetMember("config.json", place, FLAG, json.dumps(tied))
