"""ORB009: a chunk of a leaf that is not there, or not all of it."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.wording import list_names
from tiecli.linting.orbaxitems import list_read
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

_SHOWN = 3
_HINT = "Copy the item again from where it is whole; nothing else can give these values back."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf whose chunks are not in the store, and one a data file that holds too little."""
    for read in list_read(subject):
        for node, leaf in read.arrays():
            if leaf is not None and leaf.faults:
                name = node.path.spelling
                said = "; ".join(leaf.faults[:_SHOWN]) + "; and more" * (len(leaf.faults) > _SHOWN)
                yield Finding(f"`{name}`: {said}.", (name,), read.item.place, leaf.faults[0], hint=_HINT)
        for problem, names in read.store.short.items():
            said = f"{problem}: chunks of {list_names(names)} lie in it."
            yield Finding(said, names, read.item.place, problem, hint=_HINT)


RULE = Rule(
    code="ORB009",
    name="missing-chunk",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="none",
    check=check,
    what="""\
A chunk of an array has no key in the store, has no bytes, or lies in a data file that is missing or ends before it.
Only keys, lengths and file sizes are looked at, no chunk is read. Checkpoints that leave chunks of zeros out on purpose
say so in `_METADATA` and may lack keys. Looked for in the latest step, and in the latest whole one.""",
    why="""\
The tree and every shape are there, so that listing the checkpoint shows nothing; restoring ends with `Encountered error
while reading array index`. Readers that fill what is missing, as tensorstore does unless told otherwise, give zeros
for a part of the leaf instead, and the model is worse for no visible reason.""",
    mend="No fix: the values are elsewhere. Copy the item again, and compare the sizes of all files with the source's.",
    bad="""\
params.embed.embedding/.zarray   shape [64, 16], chunks of [32, 16]
params.embed.embedding/0.0""",
    good="""\
params.embed.embedding/.zarray   shape [64, 16], chunks of [32, 16]
params.embed.embedding/0.0
params.embed.embedding/1.0""",
)
