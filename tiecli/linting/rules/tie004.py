"""TIE004: two leaves are equal, though the config says that they are not tied."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.flags import edit_flag
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pair of the config's class that is equal and not to be tied."""
    tied = {(tie.alias, tie.canonical) for tie in subject.stated if tie.tied}
    for tie in subject.stated:
        if tie.tied or (tie.alias, tie.canonical) in tied or not subject.specs.keys() >= {tie.alias, tie.canonical}:
            continue
        if subject.searcher.are_equal(tie.alias, tie.canonical):
            yield Finding(
                f"`{tie.alias}` equals `{tie.canonical}` although the config says they are untied."
                " Loaders keep two copies, and training lets them drift apart.",
                (tie.alias, tie.canonical),
                subject.homes.get(tie.alias, ""),
                fix=_fix(subject),
                hint="If they are one by design, set the flag; if the head was to be trained, see whether it ever was.",
            )


def _fix(subject: Subject) -> Fix | None:
    edits = edit_flag(subject.config, tied=True) if subject.config is not None else ()
    return Fix("set `tie_word_embeddings` to true", edits, safe=False) if edits else None


RULE = Rule(
    code="TIE004",
    name="identical-untied-pair",
    severity="info",
    needs=("data", "config"),
    formats=("safetensors", "orbax"),
    cure="unsafe",
    check=check,
    what="""\
The config's class could tie two leaves, its flag says that it does not, and both are stored with the same
bytes. Leaves of one value throughout are not told of.""",
    why="""\
Nothing breaks: a loader that goes by the flag keeps two equal leaves. But either the flag is wrong, and
training on will let the two drift apart, or the head was copied from the embedding and never trained.""",
    mend="""\
The fix sets the flag to true; the copy is then redundant, and TIE002 drops it. It is unsafe: the model then
trains one leaf where it had two.""",
    bad="""\
config.json                 tie_word_embeddings: false
model.embed_tokens.weight   BF16 32000×2048
lm_head.weight              BF16 32000×2048, the same bytes""",
    good="""\
config.json                 tie_word_embeddings: false
model.embed_tokens.weight   BF16 32000×2048
lm_head.weight              BF16 32000×2048, differs""",
    threads=("transformers#46456", "candle#2930", "fairseq2#1064"),
)
