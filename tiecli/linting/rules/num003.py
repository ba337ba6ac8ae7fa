"""NUM003: a leaf is nothing but zeros."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf of zeros, but for those that NUM005 tells of together."""
    from tiecli.linting.exempt import may_be_zero

    told = {name for tail in subject.zero_tails for name in tail.leaves}
    for name, found in subject.statistics.leaves.items():
        spec = subject.specs[name]
        if found.is_zero and name not in told and not may_be_zero(name, spec):
            yield Finding(
                f"`{name}` is entirely zero ({spec}).",
                (name,),
                subject.homes.get(name, ""),
                hint="If it is meant to follow from another leaf, declare that tie; else save or fetch it again.",
            )
    subject.statistics.check_all_read()


RULE = Rule(
    code="NUM003",
    name="all-zero",
    severity="warning",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
Every element of a leaf is zero. Leaves that may well be are passed over: vectors (biases, gates, norms that
add one), masks, indices, the halves of adapters that start from zero, zero-initialised layers and tables of
positions by their names, the state of optimizers, and whatever NUM005 reports.""",
    why="""\
The leaf was made and never filled: a head that its tie should have filled, a parameter that was gathered on
another process, a file that was preallocated. The model loads, and its outputs are constant or of a
model with a layer missing.""",
    mend="""\
No fix: nothing says what the values were. If the leaf is meant to be another one's alias, untie or tie
it from that leaf.""",
    bad="""\
lm_head.weight   F32 50257×768   0.0 everywhere""",
    good="""\
lm_head.weight   F32 50257×768   values around 0.02""",
    threads=("transformers#10088", "vec2text#94", "BitNet#608", "sglang#21505"),
)
