"""Model classes: what each known class ties, and what switches it, from classes.json, heads.json and others.json."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ModelClass:
    """One row of classes.json or heads.json: what a model class ties, or keeps apart, and what switches it.

    Source: transformers 5.23.0 and 4.57.6, asked by `fixtures/make_architectures.py` and `make_heads.py`.

    Attributes:
        name: The class, as `architectures` in config.json spells it.
        ties: `alias -> canonical`, in the names of the module; `{i}` stands for a number.
        stored: The same as `save_pretrained` spells it, where that differs.
        default: What transformers 5 makes of an absent flag.
        older: What transformers 4 makes of it.
        flag: Where transformers 5 looks: at the `top`, at `either` place, only at the
            `nested` config, or nowhere, because the class `always` or `never` ties.
        nested: The nested config that transformers 4 looks at instead, if it is there.
        scales: The flag also decides whether the decoder's output is scaled.
        prefix: What the names lose when the file was saved from the bare model.
        spellings: `ties` and `stored`, then both without the prefix, each once.
    """

    name: str
    ties: Mapping[str, str]
    stored: Mapping[str, str]
    default: bool
    older: bool
    flag: Literal["top", "either", "nested", "always", "never"]
    nested: str
    scales: bool
    prefix: str
    spellings: tuple[Mapping[str, str], ...]

    def spell(self, names: Collection[str]) -> tuple[tuple[str, str], ...]:
        """Gives the class's `(alias, canonical)` pairs in the spelling that fits the given names best.

        A file may hold the module's names or those of older releases, with or without the
        prefix of the bare model: `wte.weight` for `transformer.wte.weight`.
        """
        found = [
            tuple(pair for item in spelling.items() for pair in _expand(*item, names)) for spelling in self.spellings
        ]
        return max(found, key=lambda pairs: sum(name in names for name in {name for pair in pairs for name in pair}))


@lru_cache(maxsize=1024)
def find_model_class(name: str) -> ModelClass | None:
    """Finds a class that ties something by the name that `architectures` in config.json gives it.

    Example:
        >>> find_model_class("T5ForConditionalGeneration").scales
        True
    """
    row = _load_table("classes.json").get(name)
    return None if row is None else _build(name, row)


@lru_cache(maxsize=1024)
def find_untied_class(name: str) -> ModelClass | None:
    """Finds a class whose output head stands alone whatever the flag says; its `ties` are head and embedding.

    Example:
        >>> dict(find_untied_class("CpmAntForCausalLM").ties)
        {'lm_head.weight': 'cpmant.input_embedding.weight'}
    """
    row = _load_table("heads.json").get(name)
    return _build(name, row) if row is not None and "ties" in row else None


def is_class(name: str) -> bool:
    """Whether transformers has a class of this name; what no table says of it is known not to be so.

    Example:
        >>> is_class("SiglipModel"), is_class("HomemadeForCausalLM")
        (True, False)
    """
    return any(name in _load_table(file) for file in ("classes.json", "heads.json", "others.json"))


def count_extra_rows(name: str) -> int:
    """Counts the rows that a class's input embedding has beyond `vocab_size` by design, in its default config.

    Example:
        >>> count_extra_rows("MllamaForConditionalGeneration"), count_extra_rows("LlamaForCausalLM")
        (8, 0)
    """
    rows: int = _load_table("heads.json").get(name, {}).get("more", 0)
    return rows


def default_of_type(model_type: str) -> bool | None:
    """Says what an absent flag means in a config of this `model_type`; None for an unknown type."""
    return _defaults_by_type().get(model_type)


def _build(name: str, row: Mapping[str, Any]) -> ModelClass:
    default = row.get("default", False)
    spellings = [row["ties"], row["stored"]] if "stored" in row else [row["ties"]]
    if prefix := row.get("prefix", ""):
        spellings += [
            {alias.removeprefix(f"{prefix}."): leaf.removeprefix(f"{prefix}.") for alias, leaf in spelling.items()}
            for spelling in spellings
        ]
    return ModelClass(
        name=name,
        ties=row["ties"],
        stored=row.get("stored", row["ties"]),
        default=default,
        older=row.get("older", default),
        flag=row.get("flag", "top"),
        nested=row.get("nested", ""),
        scales=row.get("scales", False),
        prefix=prefix,
        spellings=tuple(spellings),
    )


@cache
def _load_table(file: str) -> Mapping[str, Any]:
    # This module's own loader, which reads zip files too; `importlib.resources` costs 20 ms at start-up.
    loader: Any = __spec__.loader
    table = json.loads(loader.get_data(__file__.removesuffix("classes.py") + file))
    return table if isinstance(table, dict) else dict.fromkeys(table)


@cache
def _defaults_by_type() -> Mapping[str, bool]:
    return {row["type"]: row["default"] for row in _load_table("classes.json").values()}


def _expand(alias: str, canonical: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Expands a pattern over the names that fit it; a pair without `{i}` stands for itself."""
    if "{" not in alias:
        yield alias, canonical
        return
    letters = set(re.findall(r"{(\w)}", alias))
    seen: dict[tuple[str, str], None] = {}
    for source in (alias, canonical):
        if set(re.findall(r"{(\w)}", source)) == letters:
            match = _pattern(source).fullmatch
            for name in names:
                if fitting := match(name):
                    seen[alias.format(**fitting.groupdict()), canonical.format(**fitting.groupdict())] = None
    yield from (pair for pair in seen if pair[0] != pair[1])


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w)\\}", r"(?P<\1>[0-9]+)", re.escape(name)))
