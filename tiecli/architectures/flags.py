"""Flags: where a `config.json` contradicts itself about ties, or leaves it to the loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tiecli.architectures.configs import FLAG, Reading, find_class, flag_at, read_flag
from tiecli.architectures.pairs import implies_head, knows_class, read_flags


class FlagConflict(NamedTuple):
    """Two places of one config whose flags loaders read differently.

    Attributes:
        inner: The nested config, by its key.
        top_says: The flag at the top level; None if it is absent.
        inner_says: The flag in the nested config; None if it is absent.
        reading: What each release makes of that; None for an unknown class.
    """

    inner: str
    top_says: bool | None
    inner_says: bool | None
    reading: Reading | None


class AbsentFlag(NamedTuple):
    """A config without the flag.

    Attributes:
        reading: What each release makes of that; None for an unknown class.
        value: What stands in its place, if it is neither true nor false.
    """

    reading: Reading | None
    value: object = None


def find_flag_conflict(document: Mapping[str, Any]) -> FlagConflict | None:
    """Finds flags that contradict each other, or one that some release does not look for where it stands.

    Example:
        >>> config = {"architectures": ["LlavaForConditionalGeneration"], "tie_word_embeddings": False}
        >>> config["text_config"] = {"model_type": "llama", "tie_word_embeddings": True}
        >>> find_flag_conflict(config)[:3]
        ('text_config', False, True)
    """
    top = flag_at(document, ())
    model_class = find_class(document)
    if model_class is None:
        if top is None or knows_class(document) or not implies_head(document):
            return None
        differing = (place[0] for place, value in read_flags(document).items() if place and value is not top)
        inner = next(differing, None)
        return None if inner is None else FlagConflict(inner, top, not top, None)
    section = document.get(model_class.nested) if model_class.nested else None
    if model_class.flag in ("always", "never", "nested") or not isinstance(section, dict):
        return None
    inside = flag_at(document, (model_class.nested,))
    reading = read_flag(document, model_class)
    if top is inside or (None in (top, inside) and reading.newer is reading.older):
        return None
    return FlagConflict(model_class.nested, top, inside, reading)


def find_absent_flag(document: Mapping[str, Any]) -> AbsentFlag | None:
    """Finds out whether a class that goes by the flag is left without it.

    Example:
        >>> find_absent_flag({"architectures": ["GPT2LMHeadModel"]}).reading.newer
        True
        >>> find_absent_flag({"architectures": ["GPT2LMHeadModel"], "tie_word_embeddings": True}) is None
        True
    """
    model_class = find_class(document)
    if model_class is None:
        if knows_class(document) or read_flags(document) or not implies_head(document):
            return None
        return AbsentFlag(None, document.get(FLAG))
    inner = (model_class.nested,)
    if model_class.flag in ("always", "never") or (model_class.nested and flag_at(document, inner) is not None):
        return None
    if model_class.flag != "nested" and flag_at(document, ()) is not None:
        return None
    section = document.get(model_class.nested) if model_class.flag == "nested" else document
    value = section.get(FLAG) if isinstance(section, dict) else None
    return AbsentFlag(read_flag(document, model_class), value)
