"""STF014: a tensor does not begin at a multiple of its elements' size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiecli.linting.edits import Repack
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

if TYPE_CHECKING:
    from tiecli.checkpoints.safetensors.header import Header


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a sound file."""
    for file in subject.files:
        found = [] if file.header is None else _find_misaligned(file.header)
        if found:
            first, start, size = found[0]
            others = f", and so do {len(found) - 1:,} more tensors" if len(found) > 2 else ""
            others = f", and so does `{found[1][0]}`" if len(found) == 2 else others
            yield Finding(
                f"`{first}` starts at byte {start:,}, not a multiple of {size}{others}.",
                tuple(name for name, _, _ in found),
                file.name,
                fix=Fix(f"write `{file.name}` anew, its tensors aligned", (Repack(file.name),), safe=True),
            )


def _find_misaligned(header: Header) -> list[tuple[str, int, int]]:
    """Finds tensors that begin at odd places: name, place in the file, size of an element."""
    found = []
    for name, spec in header.specs.items():
        size = spec.dtype.bits // 8
        start = header.data_start + header.infos[name]["data_offsets"][0]
        if size > 1 and start % size and spec.size:
            found.append((name, start, size))
    return found


RULE = Rule(
    code="STF014",
    name="misaligned-data",
    severity="info",
    needs=("header",),
    formats=("safetensors",),
    cure="safe",
    check=check,
    what="""\
A tensor begins, counted from the start of the file, at no multiple of the size of its elements: the header is not
padded to eight bytes, or a tensor of narrow elements of odd number lies before it.""",
    why="""\
The format allows it. A program that maps the file gets arrays that are not aligned: some copy them, which costs the
time and memory that mapping was to save, some processors read them slowly, and some libraries refuse them.""",
    mend="""\
The fix writes the file anew with a padded header, tensors of wide elements first where the present order cannot be
kept. It is safe: names, shapes and values stay.""",
    bad="""\
mask    U8 [3]     bytes 64-66 of the file
scale   F32 [4]    bytes 67-82""",
    good="""\
scale   F32 [4]    bytes 64-79 of the file
mask    U8 [3]     bytes 80-82""",
    default=False,
)
