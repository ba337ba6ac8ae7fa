"""STF007: a tensor has a dtype that the format does not know."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.leaves import find_dtype
from tiecli.linting.damaged import list_damages
from tiecli.linting.edits import DropLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a tensor."""
    for file, damage in list_damages(subject, "unknown-dtype"):
        leaf, dtype, empty = damage.leaves[0], damage.facts["name"], damage.facts["nbytes"] == 0
        known = find_dtype(dtype)
        fix = Fix(f"drop `{leaf}`, which stores nothing", (DropLeaf(leaf, file.name),), safe=True)
        told = f"dtype `{dtype:.60}`" if dtype else "an empty dtype"
        yield Finding(
            f"`{leaf}` has {told}" + (" and stores nothing." if empty else "."),
            damage.leaves,
            file.name,
            fix=fix if empty and file.mendable else None,
            hint=f"The format spells it `{known}`." if known else "",
        )


RULE = Rule(
    code="STF007",
    name="unknown-dtype",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="The header gives a tensor a dtype that is none of the format's, the empty name included.",
    why="""\
The library refuses the whole file, whichever tensor is wanted (`unknown variant`). An entry without dtype and bytes
that stands for a tied tensor is a known cause, names of other libraries (`bfloat16`) are another.""",
    mend="""\
An entry that stores nothing is dropped, and its row in the index with it; that is safe, as no loader could have read
it. There is no fix for others: what their bytes mean is not known.""",
    bad="""\
lm_head.weight   dtype "", shape [], data_offsets [0, 0]""",
    good="""\
lm_head.weight   not stored; config.json says tie_word_embeddings: true""",
    threads=("torchtitan#3764",),
)
