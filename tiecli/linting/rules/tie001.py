"""TIE001: an output head that is not tied, and not stored."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.architectures.configs import find_class
from tiecli.architectures.pairs import guess_heads, implies_head, knows_class, read_flags
from tiecli.architectures.roles import find_role
from tiecli.linting.edits import RenameLeaf
from tiecli.linting.flags import edit_flag
from tiecli.linting.listing import knows_all_names, list_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import is_there


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a head; only of classes that have one, saved whole."""
    names = list_names(subject)
    known = False
    for tie in subject.stated:
        known = known or tie.source == "config"
        if tie.source != "config" or tie.tied or tie.kind != "whole" or find_role(tie.alias) != "head":
            continue
        if tie.canonical in names and not is_there(tie.alias, names) and knows_all_names(subject):
            # A head that metadata or settings name is TIE011's matter.
            if not any(other.alias == tie.alias and other.source != "config" for other in subject.stated):
                yield _report(subject, tie.canonical, tie.alias, tie.origin.removeprefix("config.json: "))
            return
    if not known and subject.config is not None:
        yield from _check_unknown(subject)


def _check_unknown(subject: Subject) -> Iterator[Finding]:
    """Looks at a class that is not known: nothing stored may pass for a head, by name or by shape."""
    config = subject.config or {}
    flags = read_flags(config)
    if not flags or any(flags.values()) or not implies_head(config) or knows_class(config):
        return
    heads, embeddings = guess_heads(subject.naming.alone)
    if heads or not embeddings or not knows_all_names(subject):
        return
    if any(tie.canonical in embeddings and find_role(tie.alias) == "head" for tie in subject.stated):
        return
    specs = subject.specs
    rows = {specs[name].shape[0] for name in embeddings if name in specs and len(specs[name].shape) == 2}
    if rows and not any(rows & {*spec.shape} for name, spec in specs.items() if name not in embeddings):
        yield _report(subject, embeddings[0], "", "tie_word_embeddings is false")


def _report(subject: Subject, embedding: str, head: str, reason: str) -> Finding:
    likely = _find_misplaced(subject, embedding) if head else ""
    there = f"; `{likely}` has its shape, but another name than `{head}`" if likely else ""
    config = subject.config or {}
    if likely:
        fix: Fix | None = Fix(f"rename `{likely}` to `{head}`", (RenameLeaf(likely, head),), safe=False)
    else:
        # Of a class that never ties, no flag makes it tie.
        edits = edit_flag(config, tied=True) if not head or find_class(config) else ()
        summary = f"set `tie_word_embeddings` to true, so that the head is `{embedding}`"
        fix = Fix(summary, edits, safe=False) if edits else None
    return Finding(
        f"`config.json` says {reason}, but no output head is stored for `{embedding}`{there}.",
        (embedding, *filter(None, (head, likely))),
        "config.json",
        fix=fix,
        hint="Save the head from the run that trained it; if it was tied there, set tie_word_embeddings to true.",
    )


def _find_misplaced(subject: Subject, embedding: str) -> str:
    """Finds the only leaf that is named like a head, though not like this one; empty if there is none."""
    heads, _ = guess_heads(subject.naming.alone)
    alike = [name for name in heads if name in subject.specs and embedding in subject.specs]
    fitting = [name for name in alike if subject.specs[name].shape == subject.specs[embedding].shape]
    return fitting[0] if len(fitting) == 1 else ""


RULE = Rule(
    code="TIE001",
    name="untied-head-missing",
    severity="error",
    needs=("header", "config"),
    formats=("safetensors",),
    cure="unsafe",
    check=check,
    what="""\
The config says that output head and input embedding are not tied, and only the embedding is stored. Asked of
classes that have a head, by what is known of them or by their name (`…ForCausalLM`, `…LMHeadModel`,
`…ForConditionalGeneration`). Files saved from the bare model, whose names lack its prefix, need none; and a
head that is quantised is there under other names.""",
    why="""\
A loader that goes by the flag finds no head. Some stop (`Missing 1 parameters: lm_head.weight`); others fill it
with random numbers and only warn, and the model answers in noise; others tie it silently, flag or no flag.""",
    mend="""\
The fix sets the flag to true, so that the head is the embedding. It is unsafe: if the model did have a head of
its own, that is lost here, and the embedding is no substitute. A leaf of the same shape that is named like a
head, but not as the class names it, is renamed instead; that is unsafe, too.""",
    bad="""\
config.json                 tie_word_embeddings: false
model.embed_tokens.weight   BF16 151936×2048""",
    good="""\
config.json                 tie_word_embeddings: false
model.embed_tokens.weight   BF16 151936×2048
lm_head.weight              BF16 151936×2048""",
    threads=(
        "Qwen3-VL-Embedding#89", "LLaVA-NeXT#315", "TensorRT-LLM#3324", "TensorRT-LLM#13664", "vllm#51665",
        "vllm#16555",
    ),
)  # fmt: skip
