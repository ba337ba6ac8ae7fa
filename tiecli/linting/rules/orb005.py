"""ORB005: an item in a database whose manifest is missing, or leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.checkpoints.orbax.directories import DATABASE, PROCESS, TREE
from tiecli.checkpoints.survey.orbax import ItemSurvey
from tiecli.linting.edits import JoinDatabases
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding an item."""
    for item in subject.orbax.list_items():
        manifest = item.file(DATABASE)
        if item.kind == "unfinished" and TREE in item.listing.files:
            yield _lacks_joint(subject, item)
        elif _lacks_database(item):
            hint = "Copy the item again from where it is whole."
            yield Finding(f"{_call(subject, item)} is marked OCDBT but has no `{DATABASE}`.", file=manifest, hint=hint)
        elif item.store is not None and item.store.form == "database" and item.store.problem:
            hint = "Copy the item again from where it is whole, or take another step of the run."
            yield Finding(f"The database cannot be read: {item.store.problem}.", file=manifest, hint=hint)


def _lacks_joint(subject: Subject, item: ItemSurvey) -> Finding:
    """Words that the databases of the processes were never joined."""
    count = sum(name.startswith(PROCESS) for name in item.listing.directories)
    parts = f"{count} per-process part" + ("s exist" if count > 1 else " exists")
    said = f"{_call(subject, item)} is marked OCDBT but has no top `{DATABASE}`; {parts}"
    fix, hint = None, ""
    if item.tree is not None and item.tree.tree is not None:
        if _is_whole(item):
            summary = f"join {count} per-process database{'s' * (count > 1)} in `{item.place}`"
            fix = Fix(summary, (JoinDatabases(item.place),), safe=True)
        else:
            said += ", and some chunks are in none"
            hint = "Copy the item again from where it is whole, or take another step of the run."
    else:
        hint = f"Lint `{subject.unit.directory / item.place}` itself to see whether the parts are whole."
    return Finding(f"{said}.", file=item.file(DATABASE), fix=fix, hint=hint)


def _is_whole(item: ItemSurvey) -> bool:
    """Whether the databases of all processes together hold every chunk of every leaf."""
    if item.tree is None or item.tree.tree is None or item.store is None or item.store.problem or item.store.short:
        return False
    held = [item.store.leaves.get(node.name) for node in item.tree.tree.nodes if node.is_array]
    return all(leaf is not None and leaf.metadata is not None and not leaf.faults for leaf in held)


def _lacks_database(item: ItemSurvey) -> bool:
    """Whether nothing is to be seen of arrays that should lie in a database."""
    tree = item.tree.tree if item.tree is not None else None
    if tree is None or item.kind != "tree" or DATABASE in item.listing.files:
        return False
    wanted = tree.use_ocdbt and any(node.is_array for node in tree.nodes)
    return bool(wanted) and (item.store is None or item.store.form != "files")


def _call(subject: Subject, item: ItemSurvey) -> str:
    return f"`{subject.unit.directory.absolute().name if item.place == '.' else item.place}`"


RULE = Rule(
    code="ORB005",
    name="ocdbt-manifest-missing",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="safe",
    check=check,
    what="""\
An item says that its arrays lie in an OCDBT database, and has no `manifest.ocdbt` of its own, or one that is damaged,
or refers to nodes that are missing or damaged. Each process of a save writes a database; the manifest above them is
written last, and is the only one that restoring looks at. Missing manifests are found in every step, damaged databases
in the latest step and in the latest whole one.""",
    why="""\
Restoring ends at the first leaf with `Error opening "zarr" driver: Metadata at ".../.zarray" does not exist`, a message
about one array where all of them are out of reach. Saves that were cut off before their last act, and tools that
copied the directories of the processes alone, leave this behind.""",
    mend="""\
Safe where the databases of the processes hold every chunk of every leaf: a manifest is written that refers to them,
as Orbax does at the end of a save; their files stay as they are. There is no fix where a process is missing, where two
wrote different values under one key, or where the manifest is there and damaged.""",
    bad="""\
2000/default/   _METADATA  ocdbt.process_0/  ocdbt.process_1/""",
    good="""\
2000/default/   _METADATA  manifest.ocdbt  d/  ocdbt.process_0/  ocdbt.process_1/""",
    threads=("orbax#924", "genie_sim#161"),
)
