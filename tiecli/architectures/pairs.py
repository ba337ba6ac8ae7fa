"""Pairs of a class: every tie that a `config.json` speaks of, whichever way, for a checkpoint in any state."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from tiecli.architectures.classes import ModelClass, find_untied_class, is_class
from tiecli.architectures.configs import FLAG, NESTED_KEYS, class_names, find_class, flag_at, read_flag
from tiecli.architectures.roles import list_roles, named_like_ties

_MOST_HEADS = 64
"""Where more leaves than that are named alike, names say nothing; and pairing all with all takes time."""

# Source: the names of the classes in classes.json; those that end so compute the next token.
_LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


class KnownPair(NamedTuple):
    """Two leaves that a model ties or keeps apart, as its flag says.

    Attributes:
        alias: The leaf that would follow, in the spelling that fits the stored names.
        canonical: The leaf it would follow from; neither need be stored.
        newer: Whether transformers 5 ties them.
        older: Whether transformers 4 does.
        origin: Where that stands, for people.
        kind: `whole` as the class names them; `bare` as the model without its head does;
            `layered` where a pattern stands for many layers, which other settings switch
            as well; `guessed` by name, because the class is not known.
    """

    alias: str
    canonical: str
    newer: bool
    older: bool
    origin: str
    kind: Literal["whole", "bare", "layered", "guessed"] = "whole"


def class_pairs(document: Mapping[str, Any], names: Collection[str]) -> tuple[KnownPair, ...] | None:
    """Lists the pairs of the config's class, which may be none; None if no class of its is known.

    Args:
        document: `config.json`, whatever it holds.
        names: The on-disk names of all leaves.

    Example:
        >>> config = {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}
        >>> [(pair.alias, pair.newer) for pair in class_pairs(config, ["model.embed_tokens.weight"])]
        [('lm_head.weight', False)]
    """
    model_class = find_class(document)
    if model_class is not None:
        reading = read_flag(document, model_class)
        return _pairs_of(model_class, names, reading.newer, reading.older, f"config.json: {reading.place}")
    untied = next(filter(None, map(find_untied_class, class_names(document))), None)
    if untied is not None:
        # Older releases of such a class may have tied; only a flag that says no is certain.
        older = any(values) if (values := tuple(read_flags(document).values())) else True
        return _pairs_of(untied, names, False, older, f"config.json: {untied.name} does not tie")
    return () if knows_class(document) else None


def guess_pairs(document: Mapping[str, Any], names: Collection[str]) -> tuple[KnownPair, ...]:
    """Pairs up heads and embeddings of a class that is not known, where the config has the flag at all.

    Example:
        >>> config = {"architectures": ["HomemadeLM"], "tie_word_embeddings": True}
        >>> [(pair.alias, pair.canonical) for pair in guess_pairs(config, ["lm_head.weight", "wte.weight"])]
        [('lm_head.weight', 'wte.weight')]
    """
    given = read_flags(document)
    if not given:
        return ()
    at = next((place for place, value in given.items() if value), next(iter(given)))
    origin = f"config.json: {'.'.join((*at, FLAG))} is {'true' if given[at] else 'false'}, and the names fit"
    heads, embeddings = guess_heads(names)
    return tuple(
        KnownPair(alias, canonical, given[at], all(given.values()), origin, "guessed")
        for canonical, alias in named_like_ties((*embeddings, *heads))
        if alias in heads
    )


def guess_heads(names: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lists the leaves that are named like output heads, and like input embeddings; none where too many are.

    Example:
        >>> guess_heads(["lm_head.weight", "norm.weight", "wte.weight"])
        (('lm_head.weight',), ('wte.weight',))
    """
    roles = list_roles(names)
    heads = tuple(name for name, role in roles.items() if role == "head")
    embeddings = tuple(name for name, role in roles.items() if role != "head")
    return (heads, embeddings) if max(len(heads), len(embeddings)) <= _MOST_HEADS else ((), ())


def knows_class(document: Mapping[str, Any]) -> bool:
    """Whether it is known what the class of a config ties, if anything."""
    return any(map(is_class, class_names(document)))


def read_flags(document: Mapping[str, Any]) -> Mapping[tuple[str, ...], bool]:
    """Gives the flag at each place where a config of an unknown class may keep it, as far as it is there.

    Example:
        >>> dict(read_flags({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}}))
        {(): True, ('text_config',): False}
    """
    places = {place: flag_at(document, place) for place in ((), *((key,) for key in NESTED_KEYS))}
    return {place: value for place, value in places.items() if value is not None}


def implies_head(document: Mapping[str, Any]) -> bool:
    """Whether a class under `architectures` is named like one that has an output head.

    Example:
        >>> implies_head({"architectures": ["HomemadeForCausalLM"]}), implies_head({"architectures": ["LlamaModel"]})
        (True, False)
    """
    return any(name.endswith(_LANGUAGE_MODELS) for name in class_names(document))


def _pairs_of(
    model_class: ModelClass, names: Collection[str], newer: bool, older: bool, origin: str
) -> tuple[KnownPair, ...]:
    pairs = []
    for alias, canonical in model_class.spell(names):
        kind: Literal["whole", "bare", "layered"] = "whole"
        if canonical not in (model_class.ties.get(alias), model_class.stored.get(alias)):
            bare = any(spelling.get(alias) == canonical for spelling in model_class.spellings)
            kind = "bare" if bare else "layered"
        pairs.append(KnownPair(alias, canonical, newer, older, origin, kind))
    return tuple(pairs)
