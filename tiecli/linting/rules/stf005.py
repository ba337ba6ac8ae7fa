"""STF005: a key stands more than once in a header."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import list_damages
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a repeated key."""
    for file, damage in list_damages(subject, "repeated-key"):
        key, count, inside = (damage.facts[name] for name in ("key", "count", "inside"))
        place = f"`{inside}`" if inside else "the header"
        yield Finding(
            f"Key `{key}` appears {count:,} times in {place}.",
            damage.leaves,
            file.name,
            fact=key,
            hint="Load the file with the program that wrote it, and save it again.",
        )


RULE = Rule(
    code="STF005",
    name="duplicate-header-key",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
A key stands twice or more in the JSON of a safetensors header: a tensor's name, `__metadata__`, a key inside it, or a
field of a tensor. Keys that are spelled differently, with escapes, and mean the same count as one.""",
    why="""\
JSON leaves open which of them holds, and parsers differ: two programs may read two tensors under one name.
The library takes identical entries without a word, and blames the offsets of others (`invalid offset`).""",
    mend="""\
No fix: the file does not say which entry is meant. Load it with the program that wrote it, check what is there, and
save it again.""",
    bad="""\
{"a.weight": {..., "data_offsets": [0, 64]}, "a.weight": {..., "data_offsets": [64, 128]}}""",
    good="""\
{"a.weight": {..., "data_offsets": [0, 64]}, "b.weight": {..., "data_offsets": [64, 128]}}""",
    threads=("safetensors#401",),
)
