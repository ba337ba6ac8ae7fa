"""NUM001: a leaf holds NaN."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf that holds NaN."""
    for name, found in subject.statistics.leaves.items():
        if found.nan:
            yield Finding(
                f"`{name}` holds {found.nan:,} NaN among {subject.specs[name].size:,} elements.",
                (name,),
                subject.homes.get(name, ""),
                hint="Save the checkpoint again from a step before the values broke, or fetch the file again.",
            )
    subject.statistics.check_all_read()


RULE = Rule(
    code="NUM001",
    name="nan-values",
    severity="error",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="Elements of a leaf are NaN; of a complex leaf, their real or their imaginary part.",
    why="""\
One NaN in a weight makes NaN of everything computed with it: images come out black, and losses stay NaN.
No loader looks at values, so the file opens without complaint. Training that diverged before the save and
bytes that were damaged on their way are the usual causes.""",
    mend="No fix: the values are lost. Go back to a step before they broke, or fetch the file again.",
    bad="""\
blocks.3.attn.weight   F16 320×320   12 of 102,400 elements are NaN""",
    good="""\
blocks.3.attn.weight   F16 320×320   every element is a number""",
    threads=("CT-CIG#3", "Make-Your-Anchor#9", "ultralytics#24307", "vllm#53537"),
)
