"""STF006: a tensor's range is of another length than its shape needs."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import count_bytes, list_damages
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a tensor."""
    for file, damage in list_damages(subject, "size-mismatch"):
        dtype, shape, need, have = (damage.facts[name] for name in ("dtype", "shape", "need", "have"))
        needs = f"`{damage.leaves[0]}`: {dtype} {list(shape)!r:.60} needs {count_bytes(need)}"
        # Elements that are smaller than a byte are packed, and have to fill the last one.
        told = f"{needs}, no whole number of them." if isinstance(need, float) else f"{needs}, its range has {have:,}."
        yield Finding(
            told,
            damage.leaves,
            file.name,
            hint="Write the file again with the program that has the tensor; do not edit headers by hand.",
        )


RULE = Rule(
    code="STF006",
    name="size-mismatch",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
Dtype and shape of a tensor come to another number of bytes than its range in the file has, or, for packed elements
smaller than a byte, to no whole number of bytes.""",
    why="""\
Either the shape, the dtype or the offsets are wrong, and nothing in the file says which. The library refuses it;
loaders of their own make fail later, or read a neighbour's bytes.""",
    mend="No fix: any of the three may be the wrong one. Write the file again with the program that has the tensor.",
    bad="""\
a.weight   F32 [4, 2], data_offsets [0, 16]""",
    good="""\
a.weight   F32 [4, 2], data_offsets [0, 32]""",
)
