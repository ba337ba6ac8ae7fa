"""ORB006: a leaf of the tree for which the store holds no array."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.checkpoints.orbax.treemetadata import NOTHING, TreeNode
from tiecli.linting.edits import DropMember, SetMember
from tiecli.linting.orbaxitems import ENTRIES, VALUE, ReadItem, list_read
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

_HINT = "Copy the item again from where it is whole; only if the leaf is not needed, drop it from the tree."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a leaf; one for all where none is left."""
    for read in list_read(subject):
        lacking = [(node, leaf) for node, leaf in read.arrays() if leaf is None or leaf.problem]
        if len(lacking) > 1 and not any(leaf is not None and not leaf.problem for _, leaf in read.arrays()):
            names = tuple(node.path.spelling for node, _ in lacking)
            said = f"`{TREE}` lists {len(names):,} leaves, the store has no array for any of them."
            yield Finding(said, names, read.metadata_file, hint="Copy the item again from where it is whole.")
            continue
        for node, leaf in lacking:
            name = node.path.spelling
            said = f"`{TREE}` lists `{name}`, the store has no array for it"
            said += f": {leaf.problem}." if leaf is not None else "."
            yield Finding(said, (name,), read.metadata_file, fix=_make_fix(read, node), hint=_HINT)


def _make_fix(read: ReadItem, node: TreeNode) -> Fix | None:
    key, entry = read.entry(node.path)
    if read.is_rich or not entry:
        return None
    summary = f"drop `{node.path.spelling}` from `{read.metadata_file}`"
    if any(isinstance(part, int) for part in node.path.keys):
        # Orbax reads no sequence with a hole: what is left out of one stays as a None.
        edit = SetMember(read.metadata_file, (ENTRIES, key), VALUE, json.dumps(dict(NOTHING)))
        return Fix(summary, (edit,), safe=False)
    return Fix(summary, (DropMember(read.metadata_file, (ENTRIES,), key),), safe=False)


RULE = Rule(
    code="ORB006",
    name="leaf-without-array",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="unsafe",
    check=check,
    what="""\
`_METADATA` lists a leaf, and the store has no array of that name, or one whose description is damaged.
Looked for in the latest step, and in the latest whole one; lint the directory of another step to have that one looked
into.""",
    why="""\
Restoring ends there: `NOT_FOUND: Error opening "zarr" driver: Metadata at "<leaf>/.zarray" does not exist`. A partial
restore that leaves this leaf out still works, so that the damage can lie unseen until the whole step is needed.""",
    mend="""\
Unsafe: `--unsafe-fixes` drops the leaf from `_METADATA`, and what is left restores. The values are not to be had from
this checkpoint in any case, but a model that has the leaf needs them from elsewhere. There is no fix where no leaf has
an array, nor in trees with rich types.""",
    bad="""\
_METADATA   params.embed.embedding  params.head.kernel
store       params.embed.embedding/.zarray""",
    good="""\
_METADATA   params.embed.embedding  params.head.kernel
store       params.embed.embedding/.zarray  params.head.kernel/.zarray""",
    threads=("orbax#1484",),
)
