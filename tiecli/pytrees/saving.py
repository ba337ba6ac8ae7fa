"""Saving: a live tree as a tied checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiecli.apply import prove_ties
from tiecli.checkpoints.creating import Contents, Form, OrbaxForm, SafetensorsForm, can_share, draft_creation
from tiecli.checkpoints.memory import ArrayReader
from tiecli.checkpoints.orbax.treerecord import TreeRecord
from tiecli.checkpoints.protocol import CommitReport, Target
from tiecli.conversion import to_name
from tiecli.errors import TreeError
from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.leaves import LeafSpec
from tiecli.manifest import Manifest, TieRecord
from tiecli.plan import Mode, Side, TieRequest, plan_tie
from tiecli.pytrees.nodes import list_empty
from tiecli.pytrees.ties import expand
from tiecli.pytrees.trees import Tree, list_leaves
from tiecli.ties import Tie, TieSet
from tiecli.transforms.arrays import array_spec

_SUFFIX = ".safetensors"
_NONE = TieSet(())


def save(
    tree: Tree,
    path: str | Path,
    ties: TieSet = _NONE,
    *,
    keep: Side | None = None,
    mode: Mode | None = None,
    shard_nbytes: int | None = None,
    sync: bool = True,
) -> CommitReport:
    """Writes the arrays of a tree as a new checkpoint, tied leaves once, their ties in its manifest.

    Args:
        tree: Any pytree of numpy or JAX arrays, contracted or expanded.
        path: A name that ends in `.safetensors` makes a file, or with `shard_nbytes` a
            directory of shards; any other the directory of an Orbax item.
        ties: Which leaves follow from which; each is proved bit for bit where its alias is in the tree.
        keep: `src` gives up the values of aliases that differ.
        mode: For Orbax, what becomes of aliases; None makes them second names of the same
            stored bytes where zarr can say so, `omit` leaves all of them out.
        shard_nbytes: Begin another shard where one would grow beyond this.
        sync: Wait until it is on the disk.

    Returns:
        What was written.

    Raises:
        TreeError: A leaf of the tree is no array.
        DriftedPairError: An alias has other values than its tie gives.
        TargetExistsError: Something is at `path`.
        TargetError: It cannot be written; nothing was published.
    """
    target = Path(path)
    single = target.name.endswith(_SUFFIX) and shard_nbytes is None
    files = target.name.endswith(_SUFFIX) or shard_nbytes is not None
    form: Form = SafetensorsForm(single, shard_nbytes) if files else OrbaxForm()
    present = list_leaves(tree)
    missing = TieSet(tuple(tie for tie in ties if tie.alias not in present))
    leaves = list_leaves(expand(tree, missing)) if missing.ties else present
    specs = {place: _spec(place, leaf) for place, leaf in leaves.items()}
    rename = to_name if files else _keep_name
    arrays = {rename(place): leaf for place, leaf in leaves.items()}
    with ArrayReader(arrays, {rename(place): spec for place, spec in specs.items()}) as reader:
        records = _prove(reader, ties, rename, keep, form, mode)
        nodes = {} if files else list_empty(tree)
        creation = draft_creation(reader, _compose(reader, records, nodes), form)
        return creation.publish(Target(target, sync=sync))


def _keep_name(path: KeyPath) -> KeyPath:
    return path


def _spec(place: KeyPath, leaf: Any) -> LeafSpec:
    if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
        raise TreeError(
            f"`{place.spelling}` is a {type(leaf).__name__}, which is no array",
            "Take such leaves out first, for example with `equinox.filter(tree, equinox.is_array)`.",
        )
    return array_spec(leaf)


def _prove(
    reader: ArrayReader, ties: TieSet, rename: Any, keep: Side | None, form: Form, mode: Mode | None
) -> tuple[TieRecord, ...]:
    """Proves every tie on the arrays, and settles what becomes of its alias."""
    if not ties.ties:
        return ()
    requests = [
        TieRequest(_spell(tuple(map(rename, tie.canonicals))), rename(tie.alias), tie.transform) for tie in ties
    ]
    proven = prove_ties(reader, plan_tie(reader.specs(), TieSet(()), requests), keep=keep)
    records = []
    for tie in proven:
        record = tie.record
        shares = mode != "omit" and can_share(record.tie, record.canonical_specs[0], form)
        records.append(replace(record, mode="alias" if shares else "omit"))
    return tuple(records)


def _spell(paths: tuple[KeyPath, ...]) -> str | KeyPath:
    return paths[0] if len(paths) == 1 else spell_leaves(paths)


def _compose(reader: ArrayReader, records: tuple[TieRecord, ...], nodes: Mapping[KeyPath, str]) -> Contents:
    """Says what the checkpoint holds: each tied leaf once."""
    shared: Mapping[KeyPath, Tie] = {record.tie.alias: record.tie for record in records if record.mode == "alias"}
    omitted = {record.tie.alias for record in records if record.mode == "omit"}
    conventional = {
        record.tie.alias.spelling: record.tie.canonical for record in records if record.tie.transform.is_same
    }
    kept = {path: path for path in reader.specs() if path not in shared and path not in omitted}
    manifest = Manifest(records) if records else None
    return Contents(kept, TreeRecord(nodes=nodes), manifest, shared, omitted, conventional)
