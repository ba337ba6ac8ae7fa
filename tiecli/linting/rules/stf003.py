"""STF003: bytes between tensors belong to none."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import count_bytes, list_damages, name_bytes
from tiecli.linting.edits import Repack
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a hole."""
    for file, damage in list_damages(subject, "hole"):
        start, stop = damage.facts["start"], damage.facts["stop"]
        between = " and ".join(f"`{leaf}`" for leaf in damage.leaves)
        place = f"between {between}" if len(damage.leaves) > 1 else f"before {between}"
        belongs = "belongs" if stop - start == 1 else "belong"
        fix = Fix(f"leave out {count_bytes(stop - start)} {place}", (Repack(file.name),), safe=True)
        yield Finding(
            f"{name_bytes(start, stop).capitalize()} of the data, {place}, {belongs} to no tensor.",
            damage.leaves,
            file.name,
            fix=fix if file.mendable else None,
        )


RULE = Rule(
    code="STF003",
    name="offset-hole",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="Between two tensors of a safetensors file, or before the first, lie bytes that the header gives to none.",
    why="""\
The format wants tensors side by side: the library refuses the file (`invalid offset for tensor`), and which tensor it
blames says little. Programs that align tensors by padding, or take one out of the header alone, write such files.""",
    mend="""\
The fix writes the file anew, its tensors side by side and aligned. It is safe: every tensor keeps its bytes, and what
is left out belongs to none. If an entry was lost from the header, its bytes are in the hole: look before you fix.""",
    bad="""\
a.weight   data_offsets [0, 64]
b.weight   data_offsets [128, 192]""",
    good="""\
a.weight   data_offsets [0, 64]
b.weight   data_offsets [64, 128]""",
)
