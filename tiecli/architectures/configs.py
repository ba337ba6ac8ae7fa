"""Configs: what config.json says about a model's class and its flag, to each release that reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiecli.architectures.classes import ModelClass, default_of_type, find_model_class
from tiecli.errors import ConfigFileError

FLAG = "tie_word_embeddings"
NESTED_KEYS = ("text_config", "llm_config", "language_config", "decoder")
"""Where configs of models with several parts keep the language model's."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a config says about the ties of its class.

    Attributes:
        newer: Whether transformers 5 ties by it.
        older: Whether transformers 4 does.
        place: Where the answer stands, for people.
    """

    newer: bool
    older: bool
    place: str


def parse_config(text: str) -> Mapping[str, Any]:
    """Reads the text of `config.json`.

    Raises:
        ConfigFileError: It is no JSON object.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigFileError(
            f"`config.json` is not JSON: {error}", "Mend the file, or move it away to go by the leaves alone."
        ) from error
    if not isinstance(document, dict):
        raise ConfigFileError(
            f"`config.json` holds a {type(document).__name__}, expected an object",
            "Mend the file, or move it away to go by the leaves alone.",
        )
    return document


def flag_at(document: Mapping[str, Any], place: tuple[str, ...]) -> bool | None:
    """Reads the flag of a nested object; None if it is absent, or neither true nor false."""
    section: Any = document
    for key in place:
        section = section.get(key) if isinstance(section, dict) else None
    value = section.get(FLAG) if isinstance(section, dict) else None
    return value if isinstance(value, bool) else None


def class_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Lists the names under `architectures`."""
    names = document.get("architectures")
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def find_class(document: Mapping[str, Any]) -> ModelClass | None:
    """Finds the first class of `architectures` that the table knows."""
    found = (find_model_class(name) for name in class_names(document))
    return next((model_class for model_class in found if model_class is not None), None)


def read_flag(document: Mapping[str, Any], model_class: ModelClass) -> Reading:
    """Reads the flag as each release does: 5 at the top, 4 in the nested config if there is one.

    Source: transformers 5.23.0 `get_expanded_tied_weights_keys`, 4.57.6 `tie_weights`, both run.
    """
    top = flag_at(document, ())
    section = document.get(model_class.nested) if model_class.nested else None
    inner = flag_at(document, (model_class.nested,))
    implied = inner
    if implied is None and isinstance(section, dict):
        implied = default_of_type(str(section.get("model_type")))
    at_top = model_class.default if top is None else top
    older = model_class.older if top is None else top
    older = older if implied is None else implied
    match model_class.flag:
        case "always":
            newer = True
        case "never":
            newer = older = False
        case "nested":
            newer = older = model_class.default if implied is None else implied
        case "either":
            newer = at_top or bool(implied)
        case "top":
            newer = at_top
    place = _place(model_class, top, inner, tied=newer or older)
    if newer != older:
        place += f", as transformers {5 if newer else 4} reads it"
    return Reading(newer, older, place)


def _place(model_class: ModelClass, top: bool | None, inner: bool | None, *, tied: bool) -> str:
    """Says where the answer stands, for people."""
    name = model_class.name
    if model_class.flag in ("always", "never"):
        return f"{name} {'ties' if model_class.flag == 'always' else 'does not tie'} whatever {FLAG} says"
    if inner is not None and (top is None or inner != top):
        return f"{model_class.nested}.{FLAG} is {json.dumps(inner)} ({name})"
    if top is not None:
        return f"{FLAG} is {json.dumps(top)} ({name})"
    return f"{FLAG} is absent, and {name} {'ties' if tied else 'does not tie'} by default"
