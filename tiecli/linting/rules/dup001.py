"""DUP001: leaves are byte-identical."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiecli.checkpoints.wording import list_names
from tiecli.leaves import format_bytes
from tiecli.linting.edits import TieLeaves
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

if TYPE_CHECKING:
    from tiecli.linting.searching import EqualLeaves

_LEAST_NBYTES = 1024


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a group of equal leaves, without those that something states a tie of."""
    from tiecli.linting.exempt import may_be_repeated

    groups: dict[str, list[EqualLeaves]] = {}
    for equal in subject.searcher.list_equal():
        if equal.same_bytes and equal.nbytes >= _LEAST_NBYTES and not may_be_repeated(equal.alias):
            groups.setdefault(equal.canonical, []).append(equal)
    partners: dict[str, set[str]] = {}
    for tie in subject.stated:
        for name, other in ((tie.alias, tie.canonical), (tie.canonical, tie.alias)):
            partners.setdefault(name, set()).add(other)
    for canonical, group in groups.items():
        kept: dict[str, EqualLeaves] = {}
        for equal in group:
            if not partners.get(equal.alias, set()) & {canonical, *kept}:
                kept[equal.alias] = equal
        if kept:
            yield _report(subject, canonical, list(kept.values()))


def _report(subject: Subject, canonical: str, group: list[EqualLeaves]) -> Finding:
    names = [canonical, *(equal.alias for equal in group)]
    shown = f"`{names[0]}` and `{names[1]}`" if len(names) == 2 else list_names(names)
    size = format_bytes(sum(equal.nbytes for equal in group))
    what = f"drop `{names[1]}`" if len(group) == 1 else f"drop {len(group):,} leaves"
    return Finding(
        f"{shown} are byte-identical ({size}).",
        tuple(names),
        subject.homes.get(names[1], ""),
        fix=Fix(
            f"{what}, {size}, and tie to `{canonical}`",
            tuple(TieLeaves(canonical, equal.alias, str(equal.transform)) for equal in group),
            safe=False,
        ),
        hint="If they are one by design, declare the tie under `[[tool.tiecli.ties]]`.",
    )


RULE = Rule(
    code="DUP001",
    name="duplicate-tensor",
    severity="info",
    needs=("data",),
    formats=("safetensors", "orbax"),
    cure="unsafe",
    check=check,
    what="""\
Leaves hold the same bytes, and nothing states a tie of them. Not told of are leaves of one value throughout,
such as fresh norms, leaves of less than 1 KiB, flags and indices, and tables of positions that code works out.""",
    why="""\
Either the leaves are one in the model, and a save that did not know of it wrote them twice: the file is larger
than it need be, and training may let the copies drift apart. Or a leaf was overwritten with another.""",
    mend="""\
The fix ties them as `tiecli tie` does. It is unsafe: that they are equal now does not say that they are meant
to be, and stock loaders that know of no tie will miss what safetensors then leaves out.""",
    bad="""\
visual.encoder.weight     F16 1024×1024
visual.encoder_2.weight   F16 1024×1024, the same bytes""",
    good="""\
visual.encoder.weight     F16 1024×1024
visual.encoder_2.weight   F16 1024×1024, differs""",
    threads=("lmms-engine#157", "optimum#1326"),
)
