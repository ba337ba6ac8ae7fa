"""NUM005: the last part of a file is zero bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

if TYPE_CHECKING:
    from tiecli.linting.tails import ZeroTail


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file that ends in zeros."""
    for tail in subject.zero_tails:
        yield Finding(
            f"Last {100 * tail.nbytes / tail.file_nbytes:.3g}% of `{tail.file}` is zero bytes: {_word_leaves(tail)}.",
            (*([tail.cut] if tail.cut else []), *tail.leaves),
            tail.file,
            hint="Fetch the file again, and compare its digest with the one at the source.",
        )
    subject.statistics.check_all_read()


def _word_leaves(tail: ZeroTail) -> str:
    many = f"{len(tail.leaves):,} leaves are" if len(tail.leaves) > 1 else "one leaf is" if tail.leaves else ""
    parts = [f"`{tail.cut}` ends in zeros"] if tail.cut else []
    return " and ".join([*parts, *([f"{many} entirely zero"] if many else [])])


RULE = Rule(
    code="NUM005",
    name="zero-tail",
    severity="warning",
    needs=("data",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
A safetensors file ends in zeros that its leaves do not explain: they begin in the midst of a row of weights,
or run from one leaf on through the next, or fill several leaves that should not be zero. Less than 4 KiB
is never reported, and neither is less than 1% of the file, unless it is 1 MiB or more.
Rows of zeros that pad one leaf at the end are no such thing.""",
    why="""\
Some downloaders make room for the whole file first. If they stop early, its size is right, its header is
right, and the rest is zeros: the file passes every check of its format. Converted files inherit the zeros.""",
    mend="No fix: the bytes are elsewhere. Fetch the file again, and compare its digest with the source's.",
    bad="""\
model.safetensors   3.4 GiB, the last 1.7 GiB of it zero bytes""",
    good="""\
model.safetensors   3.4 GiB, values up to its end""",
    threads=("BitNet#608",),
)
