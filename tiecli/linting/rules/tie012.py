"""TIE012: of a table that encoder and decoder share, only a copy under another name is stored."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.architectures.roles import find_role
from tiecli.checkpoints import wording
from tiecli.linting.aliases import drop_alias
from tiecli.linting.edits import RenameLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import Orphans, list_orphans


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a shared table that is missing."""
    for orphans in list_orphans(subject):
        if orphans.shared:
            yield Finding(
                f"Encoder-decoder checkpoint stores {wording.list_names(orphans.stored)}"
                f" but not the shared table `{orphans.canonical}`.",
                (orphans.canonical, *orphans.stored),
                subject.homes.get(orphans.stored[0], ""),
                fix=_fix(subject, orphans),
                hint="Save the shared table under its own name; all others follow from it.",
            )


def _fix(subject: Subject, orphans: Orphans) -> Fix:
    """Renames the copy; where there are several, an embedding rather than the head."""
    leaf = min(orphans.stored, key=lambda name: find_role(name) == "head")
    edits = (RenameLeaf(leaf, orphans.canonical), *drop_alias(subject, (orphans.canonical, leaf)))
    safe = orphans.certain and len(orphans.stored) == 1
    return Fix(f"rename `{leaf}` to `{orphans.canonical}`", edits, safe)


RULE = Rule(
    code="TIE012",
    name="incomplete-tie-group",
    severity="error",
    needs=("header", "config"),
    formats=("safetensors",),
    cure="either",
    check=check,
    what="""\
The embeddings of encoder and decoder, and often the head, are tied to one shared table. What is stored is one of
those that follow, or several, and not the table itself.""",
    why="""\
Loaders make the table first and let the others follow from it. It is missing, so they start from an empty or a
random one (`Cannot copy out of meta tensor; no data!`), or settle on whichever name is there, in an order that
is not that of the model that was saved: translations come out as one token repeated.""",
    mend="""\
The fix gives the stored leaf the table's name, in header and index; no array byte changes. It is safe if one leaf of
the group is stored: it was the table. With several it is unsafe, since they may have drifted apart; an embedding
is then taken before the head.""",
    bad="""\
model.decoder.embed_tokens.weight   F32 50264×1024
(model.shared.weight is not stored)""",
    good="""\
model.shared.weight   F32 50264×1024""",
    threads=(
        "transformers#48154", "transformers#48238", "transformers#36572", "transformers#26422", "transformers#27231",
        "keras-hub#3075",
    ),
)  # fmt: skip
