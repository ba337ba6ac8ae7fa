"""TIE003: leaves that are to be tied have drifted apart."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiecli.linting.comparing import ComparedTie, compare_ties
from tiecli.linting.flags import edit_flag
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

if TYPE_CHECKING:
    from tiecli.compare import Comparison


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pair that is to be tied and differs."""
    for pair in compare_ties(subject):
        if not pair.comparison.equal:
            yield Finding(
                f"`{pair.tie.alias}` and {pair.source} are declared tied by {_speaker(pair)} but differ in"
                f" {_word_difference(pair.comparison)}.{_word_loaders(pair)}",
                pair.leaves,
                subject.homes.get(pair.tie.alias, ""),
                fix=_fix(subject, pair),
                hint=_hint(subject, pair),
            )


def _speaker(pair: ComparedTie) -> str:
    return "the config" if pair.tie.source == "config" else pair.tie.origin


def _word_difference(comparison: Comparison) -> str:
    words = f"{comparison.differing:,} of {comparison.size:,} elements"
    if comparison.max_abs is None:
        return words
    ulp = "" if comparison.max_ulp is None else f", {comparison.max_ulp:,} ulp"
    return f"{words} (max diff {comparison.max_abs:.3g}{ulp})"


def _word_loaders(pair: ComparedTie) -> str:
    if pair.tie.source != "config":
        return ""
    return f" Older loaders overwrite `{pair.tie.alias}`, newer ones keep both and only warn."


def _fix(subject: Subject, pair: ComparedTie) -> Fix | None:
    """Unties by the flag, if no other leaf is filled by it that is not stored."""
    if pair.tie.source != "config" or subject.config is None:
        return None
    filled = [tie.alias for tie in subject.stated if tie.source == "config" and tie.alias not in subject.specs]
    edits = () if filled else edit_flag(subject.config, tied=False)
    return Fix("set `tie_word_embeddings` to false, so that both are kept", edits, safe=False) if edits else None


def _hint(subject: Subject, pair: ComparedTie) -> str:
    if pair.tie.parts:
        return "See which of the leaves holds the values that count, and write the others anew."
    options = ["--src", pair.tie.canonical, "--dst", pair.tie.alias]
    if pair.tie.transform != "same":
        options += ["--transform", pair.tie.transform]
    command = shlex.join(["tiecli", "tie", str(subject.unit.root), *options])
    return f"If one side's values are the ones that count: `{command} --keep src` (or `dst`)."


RULE = Rule(
    code="TIE003",
    name="drifted-tie",
    severity="error",
    needs=("data", "config"),
    formats=("safetensors", "orbax"),
    cure="unsafe",
    check=check,
    what="""\
Config, settings or a manifest tie two leaves, both are stored, and their values differ, be it in one bit.""",
    why="""\
What the model computes depends on who loads it. Loaders that obey the flag overwrite the head with the
embedding and lose what was trained into it; newer ones (transformers 5, recent vLLM) keep both when they
differ, and warn. Merged adapters that answer in gibberish, new tokens that are never produced and
jumps of the loss after a restart come from this.""",
    mend="""\
The fix sets the config's flag to false, so that every loader keeps both leaves. It is unsafe: it takes the
stored values for what was meant, though the other leaf may be a stale copy. If so, choose a side with
`tiecli tie --keep src` or `--keep dst`; no fix does that by itself.""",
    bad="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 32064×3072
lm_head.weight              BF16 32064×3072, differs in 98,304 of 98,500,608 elements""",
    good="""\
config.json                 tie_word_embeddings: false
model.embed_tokens.weight   BF16 32064×3072
lm_head.weight              BF16 32064×3072, differs""",
    threads=(
        "transformers#45127", "peft#2777", "peft#2972", "peft#2864", "peft#2018", "peft#2244", "unsloth#1971",
        "unsloth#3444", "unsloth#3428", "unsloth#9331", "unsloth#3711", "transformers#42612", "vllm#51063",
        "vllm#51665", "Automodel#2511", "Automodel#2571", "Megatron-LM#656", "Megatron-Bridge#5380", "litgpt#1727",
        "transformers#31467", "LlamaFactory#6749",
    ),
)  # fmt: skip
