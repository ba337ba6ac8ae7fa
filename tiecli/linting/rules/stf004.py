"""STF004: two tensors share bytes."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import count_bytes, list_damages, name_bytes
from tiecli.linting.edits import Repack
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a tensor that begins inside another."""
    for file, damage in list_damages(subject, "overlap"):
        start, stop = damage.facts["start"], damage.facts["stop"]
        outer, inner = damage.leaves
        if start == stop:
            told = f"`{inner}`, which is empty, lies at byte {start:,} of the data, inside `{outer}`."
            fix = Fix(f"move `{inner}` out of `{outer}`", (Repack(file.name),), safe=True)
        else:
            told = f"`{outer}` and `{inner}` share {name_bytes(start, stop)} of the data."
            summary = f"give `{outer}` and `{inner}` bytes of their own, {count_bytes(stop - start)} more"
            fix = Fix(summary, (Repack(file.name),), safe=True)
        yield Finding(
            told,
            damage.leaves,
            file.name,
            fix=fix if file.mendable else None,
            hint="Once each has its own, `tiecli find` tells whether one can be tied to the other.",
        )


RULE = Rule(
    code="STF004",
    name="offset-overlap",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
The ranges of two tensors of a safetensors file have bytes in common: two names on one range, mostly, as a writer makes
that takes an alias for an offset.""",
    why="""\
In this format, every byte belongs to one name: the library refuses the file (`invalid offset for tensor`), blames now
the one and now the other, and will not come to allow it. Loaders of their own make read both.""",
    mend="""\
The fix writes the file anew with a copy for each of the two. It is safe: each keeps the bytes that its range names.
Tie them afterwards with `tiecli tie`, so that the second copy goes in a way that loaders know.""",
    bad="""\
wte.weight       data_offsets [0, 4096]
lm_head.weight   data_offsets [0, 4096]""",
    good="""\
wte.weight       data_offsets [0, 4096]
lm_head.weight   data_offsets [4096, 8192]""",
    threads=("safetensors#586",),
)
