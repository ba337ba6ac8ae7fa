"""NUM002: a leaf holds infinities."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf that holds infinities where none belong."""
    from tiecli.linting.exempt import may_be_infinite

    for name, found in subject.statistics.leaves.items():
        if found.inf and not may_be_infinite(name, subject.specs[name]):
            yield Finding(
                f"`{name}` holds {found.inf:,} Inf among {subject.specs[name].size:,} elements.",
                (name,),
                subject.homes.get(name, ""),
                hint="Convert it again from a dtype with a wider range, or fetch the file again.",
            )
    subject.statistics.check_all_read()


RULE = Rule(
    code="NUM002",
    name="inf-values",
    severity="error",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="none",
    check=check,
    what="""\
Elements of a leaf are infinite. Masks and biases are passed over, and so are gates and limits that are vectors:
there an infinity may say that something is ruled out, or that nothing is.""",
    why="""\
An infinite weight turns into NaN with the first zero it meets. No loader looks at values, so the file opens
without complaint. Values above 65,504 become infinite when they are converted to float16; damaged bytes
look the same.""",
    mend="No fix: the values are lost. Convert the leaf again from a wider dtype, or fetch the file again.",
    bad="""\
layers.0.mlp.down_proj.weight   F16 512×2048   3 of 1,048,576 elements are Inf""",
    good="""\
layers.0.mlp.down_proj.weight   BF16 512×2048   every element is finite""",
    threads=("vllm#53537",),
)
