"""NUM004: the magnitudes of a leaf look like memory that nobody filled."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

# Trained weights span about 30, squares of gradients about 60; arbitrary bits of a float32, all 277.
_MOST_ORDERS = 100


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf whose magnitudes lie too far apart."""
    for name, found in subject.statistics.leaves.items():
        if found.span is not None and found.span > _MOST_ORDERS:
            yield Finding(
                f"`{name}` spans {found.span} binary orders of magnitude, typical of uninitialised memory.",
                (name,),
                subject.homes.get(name, ""),
                hint="See whether the code that saved it ever gave the leaf a value.",
            )
    subject.statistics.check_all_read()


RULE = Rule(
    code="NUM004",
    name="garbage-values",
    severity="warning",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    default=False,
    what="""\
Between the smallest and the largest finite element of a leaf, zeros aside, lie more than 100 doublings.
It can happen in BF16, F32, F64 and C64 only. Not among the default rules: weights that decayed for long
can be as small as 1e-40 and still be sound.""",
    why="""\
`torch.empty` and its like hand out memory with whatever was in it. A parameter that was made so and never
initialised is saved like any other; the model loads, and works on some machines and on others does not.""",
    mend="No fix: nothing says what the values should be. Initialise the parameter and save again.",
    bad="""\
score.weight   F32 2×4096   magnitudes from 1.4e-45 to 3.2e+38""",
    good="""\
score.weight   F32 2×4096   magnitudes from 3.1e-09 to 0.11""",
    threads=("transformers#30953", "bionemo-recipes#983", "bionemo-recipes#1368", "executorch#9660"),
)
