"""ORB004: an item whose `_METADATA` is missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

_HINT = "Copy the checkpoint again from where it is whole; hidden files and those with a leading `_` too."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding an item."""
    for item in subject.orbax.list_items():
        if item.kind == "unfinished" and TREE not in item.listing.files:
            yield Finding(f"`{item.file(TREE)}` is missing, though arrays are there.", file=item.file(TREE), hint=_HINT)
        elif item.tree is not None and item.tree.problem:
            said = item.tree.problem.removeprefix(f"`{TREE}` ")
            joint = " " if said != item.tree.problem else ": "
            yield Finding(f"`{item.file(TREE)}`{joint}{said}.", file=item.file(TREE), hint=_HINT)
    for step in subject.orbax.steps:
        for item in step.items:
            if item.kind == "empty" and not step.hollow and _held_tree(step.handlers.get(item.name)):
                yield Finding(f"`{item.place}` is empty, so it has no `{TREE}`.", file=item.file(TREE), hint=_HINT)


def _held_tree(handler: object) -> bool:
    """Whether an item was saved as a tree, as far as the name of its handler tells."""
    return isinstance(handler, str) and any(word in handler for word in ("PyTree", "Standard"))


RULE = Rule(
    code="ORB004",
    name="tree-metadata-missing",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="none",
    check=check,
    what="""\
An item has no `_METADATA`, or one that is not JSON, contradicts itself, or gives two leaves the same name in the store.
The file is looked for in every step; what is in it is read in the latest step, and in the latest whole one.""",
    why="""\
`_METADATA` alone says which leaves an item has. Without it Orbax stops with `FileNotFoundError` or
`InvalidLayoutError`, with half of it with a `JSONDecodeError`, although every array is there.
Copies that leave out names with a leading `_`, and disks that ran full, are the usual causes. Of two leaves with one
name, such as `a.b` and `a: b`, one has overwritten the other while saving; both restore, and one is wrong.""",
    mend="""\
No fix: the store knows names, and not which of their dots part keys. Copy the file again; another step of the same run
has the same `_METADATA` unless the model changed in between.""",
    bad="""\
checkpoints/2000/default/   manifest.ocdbt  d/  ocdbt.process_0/""",
    good="""\
checkpoints/2000/default/   _METADATA  manifest.ocdbt  d/  ocdbt.process_0/""",
)
