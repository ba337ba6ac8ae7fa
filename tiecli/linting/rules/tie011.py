"""TIE011: a leaf that only metadata knows of, though the config does not tie it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tiecli.architectures.pairs import knows_class, read_flags
from tiecli.architectures.roles import find_role
from tiecli.linting.edits import UntieLeaf
from tiecli.linting.flags import edit_flag
from tiecli.linting.listing import list_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tying import StatedTie


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding an alias that is not stored; one that leads nowhere is TIE008's."""
    if subject.config is None or not subject.aliases.pairs:
        return
    names = list_names(subject)
    leads = {tie.alias: tie.canonical for tie in subject.stated if tie.tied and tie.source in ("config", "settings")}
    governed = {(tie.alias, tie.canonical) for tie in subject.stated if tie.source == "config"}
    seen = set(names)
    for tie in subject.stated:
        if tie.source not in ("manifest", "metadata") or tie.alias in seen:
            continue
        if not all(name in names for name in tie.parts or (tie.canonical,)):
            continue
        seen.add(tie.alias)
        if _follow(tie.alias, leads) != _follow(tie.canonical, leads) and _is_sure(subject, tie):
            yield _report(subject, tie, governed=(tie.alias, tie.canonical) in governed)


def _follow(name: str, leads: Mapping[str, str]) -> str:
    """Gives the leaf at the head of a tied group; ties of configs are one step long, or two."""
    for _ in range(2):
        name = leads.get(name, name)
    return name


def _is_sure(subject: Subject, tie: StatedTie) -> bool:
    """Whether the model's code does not tie the pair: of an unknown class only what its flag says is sure."""
    config = subject.config or {}
    if knows_class(config):
        return True
    flags = read_flags(config).values()
    roles = {find_role(tie.alias), find_role(tie.canonical)}
    return "head" in roles and len(roles) == 2 and bool(flags) and not any(flags)


def _report(subject: Subject, tie: StatedTie, *, governed: bool) -> Finding:
    where = "in tiecli's manifest" if tie.source == "manifest" else "as a metadata alias"
    shown = tie.canonical if tie.parts else f"`{tie.canonical}`"
    return Finding(
        f"`{tie.alias}` exists only {where} of {shown} while the config does not tie it; most loaders ignore metadata.",
        (tie.alias, *(tie.parts or (tie.canonical,))),
        subject.aliases.files.get(tie.alias, ""),
        fix=_fix(subject, tie, governed=governed),
        hint="If loaders that know nothing of it are to find the leaf, store it again with `tiecli untie`.",
    )


def _fix(subject: Subject, tie: StatedTie, *, governed: bool) -> Fix:
    """Lets the config tie it, if its class can; else stores it again."""
    edits = edit_flag(subject.config or {}, tied=True) if governed else ()
    if edits:
        return Fix("set `tie_word_embeddings` to true", edits, safe=False)
    return Fix(f"store `{tie.alias}` again", (UntieLeaf(tie.alias, tie.canonical),), safe=False)


RULE = Rule(
    code="TIE011",
    name="alias-without-flag",
    severity="warning",
    needs=("header", "config"),
    formats=("safetensors",),
    cure="unsafe",
    check=check,
    what="""\
A leaf is not stored; the metadata of a file or index, or tiecli's manifest, says which other leaf has its values; and
the config's class does not tie the two, or its flag says no. Of a class that is not known, only heads whose flag
says no are told of. A tie that the project's settings declare is known to the project, and not told of.""",
    why="""\
The convention is that of `safetensors.torch.save_model`, and its own `load_model` is about all that keeps to it.
transformers, vLLM and the converters go by config and code: they report the leaf missing, or fill it at random.""",
    mend="""\
If the flag can tie the two, the fix sets it to true; else the leaf is stored again, as `tiecli untie` does. Both are
unsafe: the one changes what a model is that was trained with two leaves, the other the size of its files.
Where all loaders are the project's own, declare the tie in `[tool.tiecli]` instead.""",
    bad="""\
config.json                 tie_word_embeddings: false
__metadata__                lm_head.weight -> model.embed_tokens.weight
model.embed_tokens.weight   BF16 32000×2048""",
    good="""\
config.json                 tie_word_embeddings: true
__metadata__                lm_head.weight -> model.embed_tokens.weight
model.embed_tokens.weight   BF16 32000×2048""",
    threads=("keras-hub#3075", "text-generation-inference#501", "transformers#38870", "transformers#41038"),
)
