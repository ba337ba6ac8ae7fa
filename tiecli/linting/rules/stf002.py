"""STF002: a file goes on behind its last tensor."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.linting.damaged import count_bytes, list_damages
from tiecli.linting.edits import Repack
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a file that is too long."""
    for file, damage in list_damages(subject, "trailing"):
        count = damage.facts["count"]
        verb = "follows" if count == 1 else "follow"
        if not damage.leaves:
            yield Finding(
                f"{count_bytes(count)} {verb} a header that names no tensor.",
                file=file.name,
                hint="The header is probably not this file's own: fetch the file again, or write it again.",
            )
            continue
        fix = Fix(f"cut {count_bytes(count)} off `{file.name}`", (Repack(file.name),), safe=True)
        yield Finding(
            f"{count_bytes(count)} {verb} the last tensor, `{damage.leaves[0]}`.",
            file=file.name,
            fix=fix if file.mendable else None,
        )


RULE = Rule(
    code="STF002",
    name="trailing-bytes",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="Bytes follow the last tensor that the header of a safetensors file names.",
    why="""\
The format wants every byte covered: the library refuses the file (`file not fully covered`), while loaders of their own
make open it, so that it works in one place and not in another. What hides behind the tensors is checked by nobody.
Files that were padded, written over with a shorter one, or appended to look like this.""",
    mend="""\
The fix writes the file without the tail; it is safe, as no tensor lies there. There is no fix for a header that names
no tensor at all: what follows it may be all there is of the weights.""",
    bad="""\
model.safetensors   header covers 4,096 bytes of data, 4,608 follow""",
    good="""\
model.safetensors   header covers 4,096 bytes of data, 4,096 follow""",
    threads=("ComfyUI#15602",),
)
