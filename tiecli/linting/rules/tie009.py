"""TIE009: a name is both a stored leaf and an alias of another."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.aliases import drop_alias
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pair of stored leaves of which metadata says that one is the other."""
    aliases = subject.aliases
    for alias, target in aliases.pairs:
        if alias == target or alias not in aliases.names or target not in aliases.names:
            continue
        edits = drop_alias(subject, (alias, target))
        yield Finding(
            f"`{alias}` is both a stored tensor and a metadata alias of `{target}`.",
            (alias, target),
            aliases.files.get(alias, ""),
            fix=Fix(f"drop the alias `{alias}` from the metadata", edits, safe=False) if edits else None,
            hint="Compare the two with `tiecli find`; drop the copy if they are equal, or else the alias.",
        )


RULE = Rule(
    code="TIE009",
    name="alias-shadows-tensor",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="unsafe",
    check=check,
    what="""\
The metadata of a file or index, or tiecli's manifest, says that a leaf stands for another, as if it were not there;
but it is there, and so is the other.""",
    why="""\
Which values the leaf has depends on who reads it: loaders of tensors take the stored ones, loaders that go by the
metadata take those of the other leaf. If the two have drifted apart, both go on without an error.
Files that were untied, merged or trained further by a tool that copies metadata along end up like this.""",
    mend="""\
The fix removes the alias from the metadata, so that the stored values count. It is unsafe, since headers do not
tell whether the two are equal, and which of them is the stale one. An entry of tiecli's manifest is left alone.""",
    bad="""\
__metadata__                 lm_head.weight -> model.embed_tokens.weight
model.embed_tokens.weight    BF16 32000×4096
lm_head.weight               BF16 32000×4096""",
    good="""\
model.embed_tokens.weight    BF16 32000×4096
lm_head.weight               BF16 32000×4096""",
    threads=("safetensors#586",),
)
