"""TIE006: the config has no flag, and leaves the tie to whoever loads it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiecli.architectures.configs import FLAG
from tiecli.architectures.flags import AbsentFlag, find_absent_flag
from tiecli.architectures.roles import find_role
from tiecli.linting.flags import edit_flag
from tiecli.linting.listing import knows_all_names, list_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import has_any_leaf, is_there
from tiecli.linting.tying import StatedTie


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding, for a class whose head goes by the flag."""
    absent = find_absent_flag(subject.config) if subject.config is not None else None
    if absent is None or not has_any_leaf(subject):
        return
    heads = [tie for tie in subject.stated if tie.source == "config" and find_role(tie.alias) == "head"]
    missing = _lacks_head(subject, heads)
    # Without a head that nothing ties, the default is not the trouble: TIE001 tells of it.
    if (absent.reading is not None and not heads) or (missing and not heads[0].tied):
        return
    yield Finding(_word(absent), (), "config.json", fix=_fix(subject, absent, missing=missing), hint=_HINT)


_HINT = f"Write {FLAG} as the model was trained, so that every loader reads the same."


def _word(absent: AbsentFlag) -> str:
    if absent.value is None:
        start = f"No {FLAG} value is written, so the loader's class default decides"
    else:
        shown = "no scalar" if isinstance(absent.value, dict | list) else json.dumps(absent.value)[:40]
        start = f"{FLAG} is {shown}, neither true nor false, so that loaders may differ"
    if absent.reading is None:
        return f"{start}."
    newer, older = absent.reading.newer, absent.reading.older
    if newer is older:
        return f"{start}: transformers {'ties' if newer else 'does not tie'}."
    return f"{start}: transformers {5 if newer else 4} ties, transformers {4 if newer else 5} does not."


def _fix(subject: Subject, absent: AbsentFlag, *, missing: bool) -> Fix | None:
    """Writes down the default, or what alone can be meant where releases have different ones."""
    if absent.reading is None or subject.config is None:
        return None
    if absent.reading.newer is absent.reading.older:
        value = absent.reading.newer
    elif missing:
        value = True
    else:
        return None
    edits = edit_flag(subject.config, tied=value)
    return Fix(f"write `{FLAG}: {json.dumps(value)}`", edits, safe=True) if edits else None


def _lacks_head(subject: Subject, heads: list[StatedTie]) -> bool:
    """Whether the embedding is stored and the head is not."""
    names = list_names(subject)
    return any(
        tie.canonical in names and not is_there(tie.alias, names) and knows_all_names(subject) for tie in heads[:1]
    )


RULE = Rule(
    code="TIE006",
    name="tie-flag-absent",
    severity="info",
    needs=("config",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
The config of a class whose head goes by `tie_word_embeddings` does not have it, neither at the top nor in the
nested config of its language model; or it is neither true nor false. Classes that tie or do not tie whatever
the flag says are passed over.""",
    why="""\
What an absent flag means is each loader's own choice, and it has changed: transformers 4 took most models for
tied, transformers 5 goes by the class, and others hard-code one or the other. A checkpoint that was right when
it was saved is read otherwise later.""",
    mend="""\
The fix writes the default of the class into the config, which changes nothing for transformers and settles it
for all others. Where transformers 4 and 5 have different defaults, true is written if no head is stored; with a
head there is no fix. For a class that is not known there is none either.""",
    bad="""\
config.json    architectures: [GPT2LMHeadModel]
wte.weight     F32 50257×768""",
    good="""\
config.json    architectures: [GPT2LMHeadModel], tie_word_embeddings: true
wte.weight     F32 50257×768""",
    threads=("LLaVA-NeXT#315", "keras-hub#1895"),
)
