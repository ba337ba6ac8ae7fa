"""TIE005: the config's flag says one thing at the top, and another in a nested config."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiecli.architectures.configs import FLAG, flag_at
from tiecli.architectures.flags import FlagConflict, find_flag_conflict
from tiecli.architectures.pairs import guess_heads
from tiecli.architectures.quantized import quantized_parts
from tiecli.architectures.roles import find_role
from tiecli.linting.edits import SetMember
from tiecli.linting.listing import knows_all_names, list_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import has_any_leaf, is_there


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding, where some loader would tie and another would not."""
    conflict = find_flag_conflict(subject.config) if subject.config is not None else None
    if conflict is None or not has_any_leaf(subject):
        return
    yield Finding(
        f"{FLAG} is {_word(conflict.top_says)} at the top of `config.json` and {_word(conflict.inner_says)}"
        f" at `{conflict.inner}`{_word_readers(conflict)}",
        (),
        "config.json",
        fact=conflict.inner,
        fix=_fix(subject, conflict),
        hint="See whether the model was trained with a head of its own, and write that at both places.",
    )


def _word(value: bool | None) -> str:
    return "absent" if value is None else json.dumps(value)


def _word_readers(conflict: FlagConflict) -> str:
    reading = conflict.reading
    if reading is None or reading.newer is reading.older:
        return ": loaders that look at one of the two only do not agree."
    ties, keeps = (5, 4) if reading.newer else (4, 5)
    return f": transformers {ties} ties the head by that, transformers {keeps} does not."


def _fix(subject: Subject, conflict: FlagConflict) -> Fix | None:
    """Writes one value at both places: the one that fits what is stored."""
    config = subject.config or {}
    value, certain = _ask_contents(subject)
    if value is None:
        return None
    places = [place for place in ((), (conflict.inner,)) if flag_at(config, place) is not value]
    edits = tuple(SetMember("config.json", place, FLAG, json.dumps(value)) for place in places)
    return Fix(f"set `{FLAG}` to {json.dumps(value)} at both places", edits, certain)


def _ask_contents(subject: Subject) -> tuple[bool | None, bool]:
    """Says which value fits the stored leaves, and whether the other one cannot; None if neither fits."""
    names, specs = list_names(subject), subject.specs
    pairs = [(tie.alias, tie.canonical) for tie in subject.stated if tie.source == "config"]
    heads = [(alias, canonical) for alias, canonical in pairs if find_role(alias) == "head"]
    if not knows_all_names(subject):
        return None, False
    for head, embedding in heads:
        if not is_there(embedding, names):
            continue
        if not is_there(head, names):
            return True, True
        whole = head in specs and embedding in specs
        differ = whole and specs[head].shape != specs[embedding].shape
        return False, bool(differ or quantized_parts(head, names))
    if not heads and guess_heads(subject.naming.alone)[1]:
        return True, False
    return None, False


RULE = Rule(
    code="TIE005",
    name="nested-flag-conflict",
    severity="error",
    needs=("config",),
    formats=("safetensors",),
    cure="either",
    check=check,
    what="""\
A model of several parts keeps `tie_word_embeddings` at the top of its config, in the nested config of its language
model, or at both places. Told of are values that contradict each other, and a value at one place that a
release of transformers does not look for there, so that the class's default overrules it.""",
    why="""\
transformers 4 goes by the nested value, transformers 5 by the one at the top; vLLM and mlx-lm have changed
sides as well. With one of them the head is tied, with the other it is not: the same files load with a random
head, or lose the trained one, and nothing says so but the answers.""",
    mend="""\
The fix writes one value at both places. It is safe where the leaves leave no choice: true if no head is
stored, false if the head has another shape than the embedding or is quantised. With both stored, false keeps
both; that is unsafe, since a head that equals the embedding may have been tied.""",
    bad="""\
config.json                             text_config.tie_word_embeddings: true, none at the top
model.language_model.embed_tokens.weight   BF16 131072×3072""",
    good="""\
config.json                             tie_word_embeddings: true, text_config.tie_word_embeddings: true
model.language_model.embed_tokens.weight   BF16 131072×3072""",
    threads=("transformers#45857", "transformers#43429", "mlx-lm#648", "vllm#33359", "vllm#51063"),
)
