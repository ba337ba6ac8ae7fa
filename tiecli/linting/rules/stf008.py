"""STF008: a header cannot be read, wholly or for one tensor."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import list_damages
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a header, or one a tensor that it is wrong about."""
    for file, damage in list_damages(subject, "unreadable"):
        yield Finding(
            f"Header is {damage.facts['reason']}.",
            damage.leaves,
            file.name,
            fact=damage.facts["reason"],
            hint=damage.facts.get("hint", "Fetch the file again, or write it again with `safetensors`."),
        )


RULE = Rule(
    code="STF008",
    name="unreadable-header",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
The header of a safetensors file is no JSON object, is longer than the format allows, or says of a tensor what makes no
sense: no shape, offsets that are no numbers. Files of other formats under this name are among them: pickles, zip
archives, GGUF, web pages.""",
    why="""\
No loader opens the file, and what it says is no help (`InvalidHeaderDeserialization`, `header too large`).
Damaged disks, interrupted writes that left zeros at the front, and downloads of an error page are behind it.""",
    mend="No fix: what the header said is lost. Fetch the file again, or write it again from the model.",
    bad="""\
model.safetensors   first bytes 00 00 00 00 00 00 00 00, then {"a.weight": ...""",
    good="""\
model.safetensors   first bytes 58 00 00 00 00 00 00 00, then {"a.weight": ...""",
    threads=("VeritasPP#2", "BIGRec#8", "LESS#17", "alpaca-lora#628", "transformers#28742"),
)
