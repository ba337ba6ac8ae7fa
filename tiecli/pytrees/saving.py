"""Saving: a live tree as a tied checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tiecli.apply import prove_ties
from tiecli.checkpoints.contents import Contents, Form, OrbaxForm, SafetensorsForm
from tiecli.checkpoints.creating import can_share, draft_creation
from tiecli.checkpoints.memory import ArrayReader
from tiecli.checkpoints.orbax.treerecord import TreeRecord
from tiecli.checkpoints.protocol import CommitReport, Target
from tiecli.conversion import to_name
from tiecli.errors import TreeError, UsageError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import Manifest, TieRecord
from tiecli.plan import Mode, plan_ties
from tiecli.pytrees.nodes import Tree, describe_array, has_values, list_empty
from tiecli.pytrees.ties import check_ties, expand
from tiecli.pytrees.trees import list_leaves
from tiecli.ties import Tie, TieSet

_SUFFIX = ".safetensors"
_NONE = TieSet(())


def save(
    tree: Tree,
    path: str | Path,
    ties: TieSet = _NONE,
    *,
    keep: Literal["src"] | None = None,
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
        mode: For Orbax, what becomes of aliases: `alias` makes them second names of the same
            stored bytes, `omit` leaves them out; None does the former wherever zarr can say so.
        shard_nbytes: Begin another shard where one would grow beyond this.
        sync: Wait until it is on the disk.

    Returns:
        What was written.

    Raises:
        TreeError: A leaf of the tree is no array that a checkpoint holds.
        LeafNotFoundError: A canonical leaf is not in the tree.
        TransformMismatchError: A transform does not give its alias's shape and dtype.
        DriftedPairError: An alias has other values than its tie gives.
        ConversionError: The format cannot hold a leaf, or its name.
        UsageError: `mode` is `alias`, and the bytes cannot be shared.
        TargetExistsError: Something is at `path`.
        TargetError: It cannot be written; nothing was published.
    """
    target = Path(path)
    single = target.name.endswith(_SUFFIX) and shard_nbytes is None
    files = single or shard_nbytes is not None
    form: Form = SafetensorsForm(single, shard_nbytes) if files else OrbaxForm()
    present = list_leaves(tree)
    missing = TieSet(tuple(tie for tie in ties if tie.alias not in present))
    leaves = list_leaves(expand(tree, missing)) if missing.ties else present
    specs = {place: _describe(place, leaf) for place, leaf in leaves.items()}
    check_ties(specs, ties)
    if files:
        leaves = {to_name(place): leaf for place, leaf in leaves.items()}
        specs = {to_name(place): spec for place, spec in specs.items()}
        ties = TieSet(tuple(Tie(to_name(tie.alias), tuple(map(to_name, tie.canonicals)), tie.transform)
                            for tie in ties))  # fmt: skip
    with ArrayReader(leaves, specs) as reader:
        proven = prove_ties(reader, plan_ties(specs, ties), keep=keep)
        records = tuple(_settle(each.record, form, mode) for each in proven)
        nodes = {} if files else list_empty(tree)
        creation = draft_creation(reader, _compose(reader, records, nodes), form)
        return creation.publish(Target(target, sync=sync))


def _describe(place: KeyPath, leaf: Any) -> LeafSpec:
    spec = describe_array(place, leaf)
    if spec.dtype.kind == "packed":
        hint = "Cast it, or pack it into bytes, first."
        raise TreeError(f"`{place.spelling}` is {spec}, of which no array has packed elements", hint)
    if not has_values(leaf):
        raise TreeError(
            f"`{place.spelling}` has no values here: it is a shape, is being traced, or lies on other processes too",
            "Save outside `jit`; `jax.experimental.multihost_utils.process_allgather` gathers what is spread.",
        )
    return spec


def _settle(record: TieRecord, form: Form, mode: Mode | None) -> TieRecord:
    """Settles what becomes of an alias."""
    shares = mode != "omit" and can_share(record.tie, record.canonical_specs[0], form)
    if mode == "alias" and not shares:
        where = "a safetensors file" if isinstance(form, SafetensorsForm) else "zarr"
        hint = 'Leave out `mode`, or give `mode="omit"`.'
        raise UsageError(f"`{record.tie}` cannot share stored bytes: {where} cannot say so", hint)
    return replace(record, mode="alias" if shares else "omit")


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
