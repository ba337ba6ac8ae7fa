"""Ties of a class: what `config.json` declares, and what is to become of it when leaves are tied."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiecli.architectures.classes import ModelClass
from tiecli.architectures.configs import (
    FLAG,
    NESTED_KEYS,
    Reading,
    class_names,
    find_class,
    flag_at,
    parse_config,
    read_flag,
)
from tiecli.architectures.jsontexts import set_member
from tiecli.architectures.roles import find_role, named_like_ties


@dataclass(frozen=True, slots=True)
class DeclaredTie:
    """A tie that `config.json` says holds; both names as they stand on disk.

    Attributes:
        alias: The leaf that follows; it may be stored all the same.
        canonical: The leaf it follows from; always stored.
        origin: Who says so, for people.
    """

    alias: str
    canonical: str
    origin: str


@dataclass(frozen=True, slots=True)
class ConfigChange:
    """What is to become of `config.json`.

    Attributes:
        text: The whole new text; None leaves the file alone.
        reason: What was or was not changed, and why, in one line.
    """

    text: str | None
    reason: str


def declared_ties(config_text: str | None, stored: Collection[str]) -> tuple[DeclaredTie, ...]:
    """Lists the ties that `config.json` says hold between the leaves of a checkpoint.

    Where transformers 4 and 5 read the config differently, a tie counts only if one of its
    two leaves is missing: what was left out must follow from what is there. Where the
    canonical leaf of the class is the missing one, the tie is given the other way round.

    Args:
        config_text: The text of `config.json`; None if there is none.
        stored: The on-disk names of all stored leaves.

    Raises:
        ConfigFileError: The text is no JSON object.

    Example:
        >>> text = '{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}'
        >>> [(tie.alias, tie.canonical) for tie in declared_ties(text, ["wte.weight"])]
        [('lm_head.weight', 'wte.weight')]
    """
    if config_text is None:
        return ()
    document = parse_config(config_text)
    model_class = find_class(document)
    if model_class is None:
        return tuple(_declared_by_name(document, stored))
    reading = read_flag(document, model_class)
    if not (reading.newer or reading.older):
        return ()
    agreed = reading.newer and reading.older
    origin = f"config.json: {reading.place}"
    return tuple(
        DeclaredTie(alias, canonical, origin)
        for alias, canonical in _rooted(model_class.spell(stored), stored)
        if agreed or alias not in stored
    )


def plan_config_change(
    config_text: str,
    tied: Sequence[tuple[str, str]],
    untied: Sequence[tuple[str, str]] = (),
    stored: Collection[str] = (),
) -> ConfigChange:
    """Plans what to change in `config.json` after leaves were tied or untied.

    Args:
        config_text: The text of `config.json`.
        tied: `(alias, canonical)` names of ties that leave the alias out of the file.
        untied: `(alias, canonical)` names of ties whose alias is stored again.
        stored: Names of the leaves that the new checkpoint stores. If one of them would be
            tied by the same flag, the flag is left alone.

    Returns:
        The new text, differing from the old in the flag alone, or None and the reason.

    Raises:
        ConfigFileError: The text is no JSON object.
    """
    document = parse_config(config_text)
    model_class = find_class(document)
    if not tied:
        return _after_untie(document, model_class, untied)
    if model_class is None:
        return _tie_unknown_class(config_text, document, tied)
    names = {*stored, *(name for pair in tied for name in pair)}
    spelled = model_class.spell(names)
    governed = [pair for pair in tied if pair in spelled or pair[::-1] in spelled]
    reading = read_flag(document, model_class)
    hindrance = _hindrance(model_class, reading, governed, tied) or _bystander(spelled, tied, stored)
    if hindrance is None:
        change = _set_flag(config_text, _places(document, model_class, reading), f"{model_class.name} ties by it")
    else:
        change = ConfigChange(None, f"config.json left alone: {hindrance}")
    return ConfigChange(change.text, change.reason + _warn_of_inverted(spelled, tied) + _warn_of_others(governed, tied))


def _bystander(
    spelled: Collection[tuple[str, str]], tied: Sequence[tuple[str, str]], stored: Collection[str]
) -> str | None:
    """Says which stored leaf the flag would tie too, or None."""
    gone = {alias for alias, _ in tied}
    for alias, canonical in spelled:
        if alias not in gone and alias in stored and canonical in stored:
            return f"{FLAG} would also tie `{alias}`, which is stored on its own"
    return None


def _warn_of_inverted(spelled: Collection[tuple[str, str]], tied: Sequence[tuple[str, str]]) -> str:
    # Source: transformers 4.57.6, run: both leaves stay on the meta device, without an error.
    inverted = [alias for alias, canonical in tied if (canonical, alias) in spelled]
    return f"; transformers 4 looks for `{inverted[0]}` and leaves it without values" if inverted else ""


def _warn_of_others(governed: Sequence[tuple[str, str]], tied: Sequence[tuple[str, str]]) -> str:
    others = [f"`{pair[0]}`" for pair in tied if pair not in governed]
    if not governed or not others:
        return ""
    shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"; the model's code does not tie {shown}, so stock loaders will report that missing"


def _hindrance(
    model_class: ModelClass, reading: Reading, governed: Sequence[tuple[str, str]], tied: Sequence[tuple[str, str]]
) -> str | None:
    """Says why the flag is not to be set, or None if it is."""
    name = model_class.name
    if not governed:
        return f"{FLAG} does not govern `{tied[0][0]}` in {name}, so stock loaders will report it missing"
    if reading.newer and reading.older:
        return f"{reading.place}, so loaders tie `{governed[0][0]}` already"
    if model_class.scales:
        return (
            f"in {name}, {FLAG} also switches a scale of the decoder's output;"
            f" transformers 5 ties `{governed[0][0]}` whatever it says, transformers 4 does not with what it says now"
        )
    if model_class.flag in ("always", "never"):
        return f"{name} {model_class.flag} ties, whatever {FLAG} says"
    return None


def _after_untie(
    document: Mapping[str, Any], model_class: ModelClass | None, untied: Sequence[tuple[str, str]]
) -> ConfigChange:
    if not untied:
        return ConfigChange(None, "config.json left alone: it speaks of no such tie")
    alias, canonical = untied[0]
    says_so = document.get(FLAG) is True
    if model_class is not None:
        reading = read_flag(document, model_class)
        says_so = reading.newer or reading.older
    if says_so:
        return ConfigChange(
            None, f"config.json left alone: it ties `{alias}`, which loads as before while it equals `{canonical}`"
        )
    return ConfigChange(None, f"config.json left alone: it does not tie `{alias}`")


def _tie_unknown_class(config_text: str, document: Mapping[str, Any], tied: Sequence[tuple[str, str]]) -> ConfigChange:
    """Sets the flag for a class that is not in the table, if names and flag are both plain."""
    places = [place for place in ((), *((key,) for key in NESTED_KEYS)) if flag_at(document, place) is not None]
    who = class_names(document)[0] if class_names(document) else "a model without `architectures`"
    if not places:
        return ConfigChange(None, f"config.json left alone: {who} is not known here, and the file has no {FLAG}")
    off = [place for place in places if flag_at(document, place) is False]
    if not off:
        return ConfigChange(None, f"config.json left alone: {FLAG} is true already")
    plain = [pair for pair in tied if {find_role(name) for name in pair} in ({"embedding", "head"}, {"shared", "head"})]
    if not plain:
        reason = f"{who} is not known here, and `{tied[0][0]}` is no output head by its name"
        return ConfigChange(None, f"config.json left alone: {reason}")
    return _set_flag(config_text, off, f"`{plain[0][0]}` and `{plain[0][1]}` are head and embedding by their names")


def _set_flag(config_text: str, places: Sequence[tuple[str, ...]], reason: str) -> ConfigChange:
    spelled = " and ".join(".".join((*place, FLAG)) for place in places)
    try:
        text = config_text
        for place in places:
            text = set_member(text, place, FLAG, "true")
    except (ValueError, RecursionError) as error:
        return ConfigChange(None, f"config.json left alone: cannot set {spelled}, since {error}")
    return ConfigChange(text, f"config.json: {spelled} set to true, since {reason}")


def _places(document: Mapping[str, Any], model_class: ModelClass, reading: Reading) -> list[tuple[str, ...]]:
    """Lists where the flag must be set for transformers 4 and 5 to read it as true."""
    inner = (model_class.nested,)
    has_inner = bool(model_class.nested) and isinstance(document.get(model_class.nested), dict)
    places: list[tuple[str, ...]] = []
    if model_class.flag != "nested" and (flag_at(document, ()) is False or not (reading.newer and has_inner)):
        places.append(())
    if has_inner and (flag_at(document, inner) is False or not reading.older):
        places.append(inner)
    return places


def _declared_by_name(document: Mapping[str, Any], stored: Collection[str]) -> Iterator[DeclaredTie]:
    """Lists head and embedding of a class that is not in the table; both must be stored."""
    places = [place for place in ((), *((key,) for key in NESTED_KEYS)) if flag_at(document, place)]
    for canonical, alias in named_like_ties(stored) if places else ():
        if find_role(alias) == "head":
            place = ".".join((*places[0], FLAG))
            yield DeclaredTie(alias, canonical, f"config.json: {place} is true, and the names fit")


def _rooted(pairs: Sequence[tuple[str, str]], stored: Collection[str]) -> Iterator[tuple[str, str]]:
    """Turns `(alias, canonical)` pairs so that every canonical leaf is stored; drops those that cannot be."""
    groups: dict[str, list[str]] = {}
    for alias, canonical in pairs:
        groups.setdefault(canonical, []).append(alias)
    for canonical, aliases in groups.items():
        present = [name for name in (canonical, *aliases) if name in stored]
        if not present:
            continue
        # The class's own choice first; else an embedding rather than a head.
        root = canonical if canonical in stored else min(present, key=lambda name: find_role(name) == "head")
        yield from ((name, root) for name in (canonical, *aliases) if name != root)
