"""ORB010: `_METADATA` says another form of storage than the store has."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.linting.edits import SetMember
from tiecli.linting.orbaxitems import ReadItem, list_read
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

_FORMS = {"database": "is an OCDBT database", "files": "has a directory for each leaf"}


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a flag."""
    for read in list_read(subject):
        stated = read.tree.use_ocdbt
        found = read.store.form == "database"
        if stated is not None and stated != found and read.store.leaves:
            said = f"`{TREE}` says use_ocdbt={_spell(stated)}, the store {_FORMS[read.store.form]}."
            yield _find(read, "use_ocdbt", said, found)
        wanted = 3 if read.tree.use_zarr3 else 2
        arrays = [(node.path.spelling, leaf.version) for node, leaf in read.arrays() if leaf is not None]
        others = tuple(name for name, version in arrays if version != wanted)
        if others:
            said = f"`{TREE}` says zarr3={_spell(wanted == 3)}, the store holds zarr{5 - wanted}"
            if len(others) == len(arrays):
                yield _find(read, "use_zarr3", f"{said}.", wanted == 2)
            else:
                hint = "Restore the leaves with the flag as it is and as it is not, and save them together again."
                said = f"{said} for {len(others):,} of {len(arrays):,} arrays."
                yield Finding(said, others, read.metadata_file, "use_zarr3", hint=hint)


def _spell(flag: bool) -> str:
    return json.dumps(flag)


def _find(read: ReadItem, flag: str, said: str, value: bool) -> Finding:
    edit = SetMember(read.metadata_file, (), flag, _spell(value))
    fix = Fix(f"set `{flag}` to {_spell(value)} in `{read.metadata_file}`", (edit,), safe=True)
    return Finding(said, (), read.metadata_file, flag, fix)


RULE = Rule(
    code="ORB010",
    name="format-flag-mismatch",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="safe",
    check=check,
    what="""\
`use_zarr3` or `use_ocdbt` in `_METADATA` says another form of storage than the store has: zarr 3 arrays where there are
zarr 2 arrays, a database where every leaf is a directory, or the other way round. Looked for in the latest step, and in
the latest whole one.""",
    why="""\
Orbax opens the arrays as the flags say and finds none: `NOT_FOUND: Error opening "zarr3" driver` at the first leaf,
although all of them are there. Metadata that were copied from another checkpoint, or written by another version than
the arrays, are the usual causes.""",
    mend="""\
Safe where all arrays of the item have the other form: the flag is set to what the store holds; as it was, no loader
could read a single leaf. Where zarr 2 and zarr 3 arrays are mixed there is no fix.""",
    bad="""\
_METADATA   use_ocdbt true, use_zarr3 true
store       params.embed.embedding/.zarray""",
    good="""\
_METADATA   use_ocdbt true, use_zarr3 false
store       params.embed.embedding/.zarray""",
    threads=("orbax#1484",),
)
