"""TIE008: metadata ties a leaf to one that is not stored."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints import wording
from tiecli.linting.listing import knows_all_names
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a missing target, with all that would follow from it."""
    aliases = subject.aliases
    if not aliases.pairs or not knows_all_names(subject):
        return
    in_rings = {name for ring in aliases.cycles for name in ring}
    missing: dict[str, list[str]] = {}
    for alias, target in aliases.pairs:
        root = aliases.find_root(target)
        if root not in aliases.names and alias not in aliases.names and root not in in_rings:
            missing.setdefault(root, []).append(alias)
    for root, followers in missing.items():
        yield Finding(
            f"Metadata ties {wording.list_names(followers)} to `{root}`, which is not stored.",
            (*followers, root),
            aliases.files.get(followers[0], ""),
            hint="Look for the leaf in the checkpoint that this one was made from, and save both again.",
        )


RULE = Rule(
    code="TIE008",
    name="dangling-alias",
    severity="error",
    needs=("header",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
The metadata of a file or index, or tiecli's manifest, says that one leaf stands for another, and neither of them is
stored. Metadata may hold any strings: only those count that name two leaves by the look of them.""",
    why="""\
The values are nowhere. Whoever goes by the metadata finds nothing to follow, and whoever does not looks for
the first name in vain. A tool that renamed or dropped leaves and copied the metadata as it was leaves this behind.""",
    mend="""\
No fix: nothing here has the values. If the leaf was renamed, name it as the metadata does, or write the metadata
anew; if it was dropped, take it from the checkpoint that this one was made from.""",
    bad="""\
__metadata__           lm_head.weight -> model.embed_tokens.weight
embed_tokens.weight    BF16 32000×4096""",
    good="""\
__metadata__                 lm_head.weight -> model.embed_tokens.weight
model.embed_tokens.weight    BF16 32000×4096""",
    threads=("keras-hub#3075", "text-generation-inference#501"),
)
