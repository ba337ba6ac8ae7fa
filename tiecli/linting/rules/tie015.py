"""TIE015: the config ties the head, and a quantised head is stored."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.architectures.pairs import implies_head, knows_class, read_flags
from tiecli.architectures.quantized import is_quantized_part, quantized_parts
from tiecli.architectures.roles import find_role
from tiecli.checkpoints import wording
from tiecli.linting.flags import edit_flag
from tiecli.linting.listing import list_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a head."""
    config = subject.config
    if config is None:
        return
    names = list_names(subject)
    known = False
    for tie in subject.stated:
        if tie.source != "config" or tie.guessed:
            continue
        known = True
        if tie.tied and not tie.disputed and find_role(tie.alias) == "head":
            parts = quantized_parts(tie.alias, names)
            if parts:
                yield _report(subject, parts)
    flags = () if known else read_flags(config).values()
    if flags and all(flags) and implies_head(config) and not knows_class(config):
        heads = [name for name in subject.naming.alone if is_quantized_part(name, _is_head)]
        if heads:
            yield _report(subject, tuple(heads))


def _is_head(leaf: str) -> bool:
    return find_role(leaf) == "head"


def _report(subject: Subject, parts: tuple[str, ...]) -> Finding:
    edits = edit_flag(subject.config or {}, tied=False)
    return Finding(
        f"Config ties the head, but quantised head tensors {wording.list_names(parts)} are stored.",
        parts,
        subject.homes.get(parts[0], ""),
        fix=Fix("set `tie_word_embeddings` to false, so that the head is used", edits, safe=False) if edits else None,
        hint="Quantise the model again without its head, or with a head that the config does not tie.",
    )


RULE = Rule(
    code="TIE015",
    name="quantized-tied-head",
    severity="error",
    needs=("header", "config"),
    formats=("safetensors",),
    cure="unsafe",
    check=check,
    what="""\
The config ties head and embedding, and beside the embedding are the leaves that a quantiser stores in a head's
place: packed weights, scales, zero points.""",
    why="""\
A tied model has no head of its own to load them into. Loaders stop (`Received parameters not in model`,
`KeyError: 'lm_head.weight'`), or drop them and compute with the embedding that was never quantised; the head that
the quantiser calibrated is not used.""",
    mend="""\
The fix sets the flag to false, so that the quantised head counts. It is unsafe: the embedding in its place may be what
was meant, and then the head's leaves ought to be dropped.""",
    bad="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 128256×2048
lm_head.qweight             I32 256×128256
lm_head.scales              F16 16×128256""",
    good="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 128256×2048""",
    threads=("sglang#2935", "mlx-lm#1247", "vllm#45543", "vllm#45535", "mistral.rs#2348", "auto-round#101"),
)
