"""ORB008: `_METADATA` states a shape for the pieces of a leaf that its array does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.linting.edits import SetMember
from tiecli.linting.orbaxitems import ENTRIES, VALUE, ReadItem, list_read
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

_KEY = "write_shape"
_LONGEST = 60


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf."""
    for read in list_read(subject):
        for node, leaf in read.arrays():
            if leaf is None or leaf.metadata is None:
                continue
            key, entry = read.entry(node.path)
            stated = entry[VALUE].get(_KEY) if entry else None
            shape, pieces = leaf.metadata.spec.shape, leaf.metadata.chunk_shape
            if stated is None or _agrees(stated, shape, pieces):
                continue
            name = node.path.spelling
            yield Finding(
                f"`{name}`: `{TREE}` states pieces of {_spell(stated)}, "
                f"the array is {list(shape)} in chunks of {list(pieces)}.",
                (name,),
                read.metadata_file,
                fix=_make_fix(read, key, name, pieces),
            )


def _agrees(stated: object, shape: Sequence[int], pieces: Sequence[int]) -> bool:
    """Whether pieces of a shape fit into an array, and are made of whole chunks."""
    if not isinstance(stated, list) or len(stated) != len(shape):
        return False
    sides = zip(stated, shape, pieces, strict=True)
    return all(
        type(side) is int and (side == length or (0 < side < length and side % piece == 0))
        for side, length, piece in sides
    )


def _spell(stated: object) -> str:
    text = json.dumps(stated)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _make_fix(read: ReadItem, key: str, name: str, pieces: Sequence[int]) -> Fix | None:
    if read.is_rich:
        return None
    value = json.dumps(list(pieces))
    edit = SetMember(read.metadata_file, (ENTRIES, key, VALUE), _KEY, value)
    return Fix(f"set `{_KEY}` of `{name}` to {value}", (edit,), safe=True)


RULE = Rule(
    code="ORB008",
    name="shape-disagreement",
    severity="warning",
    needs=("header",),
    formats=("orbax",),
    cure="safe",
    check=check,
    what="""\
The `write_shape` that `_METADATA` states for a leaf has another number of axes than the array in the store, is longer
than it along one, or is not made of whole chunks. It is the shape of what one device wrote, so that being smaller than
the array is normal. Looked for in the latest step, and in the latest whole one.""",
    why="""\
Orbax itself goes by the array and restores it. What reads `_METADATA` alone, to list shapes or to plan a restore, is
led astray, and the disagreement says that somebody changed one side: an array that was resized, or replaced by that of
another model. With a target of the old shape, restoring ends with `Requested shape is not compatible with the stored
shape`.""",
    mend="""\
Safe: `write_shape` is set to the shape of the stored chunks; no loader that restores looks at it. Whether the array is
the one that was meant, only you can tell. There is no fix in trees with rich types, which state the shape twice.""",
    bad="""\
_METADATA   params.embed.embedding   write_shape [2304, 512]
store       params.embed.embedding   shape [2048, 512], chunks of [2048, 512]""",
    good="""\
_METADATA   params.embed.embedding   write_shape [512, 512]
store       params.embed.embedding   shape [2048, 512], chunks of [512, 512]""",
    threads=("maxtext#1324",),
)
