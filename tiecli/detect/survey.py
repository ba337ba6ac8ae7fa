"""Surveying: which leaves may have to do with each other by their shapes, and samples of those."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tiecli.checkpoints.protocol import CheckpointReader, Progress
from tiecli.detect.probes import (
    Indices,
    Probe,
    Samples,
    Section,
    layer_indices,
    make_probe,
    prefix_indices,
    stored_spec,
    whole_indices,
)
from tiecli.detect.subjects import Subject, core_shape
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms.steps import MAX_RANK

Family = tuple[str, tuple[int, ...]]
"""What leaves share that can be one another under a permutation, whatever their dtype."""

PrefixGroup = tuple[str, tuple[int, ...]]
"""A dtype and the lengths behind the axis that may have been cut."""

MOST_ROWS = 16
LEAST_RELATED = 16
"""Smaller leaves are held against others of their own shape and dtype only: the rest is chance."""

_LEAST_INTEGERS = 1024
# A stack of this many layers is looked at layer by layer; with vectors for layers, of fewer,
# since every matrix could be a stack of vectors; and of all stacks together no more than so many layers.
_MOST_LAYERS = 512
_MOST_VECTORS = 128
_MOST_LAYERS_TOGETHER = 16_384


@dataclass(frozen=True, slots=True)
class PrefixView:
    """One axis along which leaves of a spec may be the first part of others, or others of them.

    Attributes:
        group: What the two must share.
        axis: The axis that is shorter or longer.
        rows: Its length.
    """

    group: PrefixGroup
    axis: int
    rows: int

    @property
    def tier(self) -> int:
        """How many rows may be looked at, so that all of the leaf's own are there."""
        return min(self.rows, MOST_ROWS)


@dataclass(frozen=True, slots=True)
class Survey:
    """All leaves that may be in a tie, with samples of each.

    Attributes:
        reader: The checkpoint.
        subjects: The leaves that are searched, in stored order.
        families: They by what they share.
        stacks: Leaves whose layers may be leaves of their own.
        prefix_views: For each spec, the views that meet a view of another length, with the
            numbers of rows they were sampled in.
        samples: The samples.
        skipped: How many leaves are of no kind that is searched.
    """

    reader: CheckpointReader
    subjects: Mapping[KeyPath, Subject]
    families: Mapping[Family, Sequence[Subject]]
    stacks: tuple[Subject, ...]
    prefix_views: Mapping[LeafSpec, Mapping[PrefixView, tuple[int, ...]]]
    samples: Samples
    skipped: int


def family_of(spec: LeafSpec) -> Family:
    """Says which family a leaf is in; leaves that cannot be turned are of one family only if their specs are equal."""
    return ("", core_shape(spec.shape)) if can_be_turned(spec) else (spec.dtype.name, spec.shape)


def can_be_turned(spec: LeafSpec) -> bool:
    """Whether a leaf can be transformed at all: its elements are whole bytes and its axes not too many."""
    return spec.dtype.kind != "packed" and len(spec.shape) <= MAX_RANK


def take_survey(reader: CheckpointReader, stated: Collection[KeyPath], progress: Progress) -> Survey:
    """Groups leaves by shape and samples those that have a counterpart.

    Args:
        reader: The checkpoint.
        stated: Leaves that a tie was declared for; these are sampled whatever they are.
        progress: Told the bytes read.
    """
    by_spec: dict[LeafSpec, list[Subject]] = {}
    specs = reader.specs()
    for place, (path, spec) in enumerate(specs.items()):
        by_spec.setdefault(spec, []).append(Subject(path, spec, place))
    stated_specs = {specs[path] for path in stated if path in specs}
    for spec in [spec for spec in by_spec if not (spec.size and _is_searched(spec))]:
        found = [subject for subject in by_spec.pop(spec) if subject.path in stated and spec.size]
        if found:
            by_spec[spec] = found
    families: dict[Family, list[Subject]] = {}
    for spec, found in by_spec.items():
        families.setdefault(family_of(spec), []).extend(found)
    stacks = _find_stacks(by_spec)
    layered = {family_of(LeafSpec(stack.spec.shape[1:], stack.spec.dtype)) for stack in stacks}
    wanted = {
        spec
        for spec in by_spec
        if len(families[family_of(spec)]) > 1 or family_of(spec) in layered or spec in stated_specs
    }
    views = _find_prefix_views(by_spec)
    stack_specs = {stack.spec for stack in stacks}
    samples = Samples(reader, progress)
    samples.read(
        [
            (_plan_probe(spec, views.get(spec, {}), whole=spec in wanted, layers=spec in stack_specs), found)
            for spec, found in by_spec.items()
            if spec in wanted or spec in stack_specs or spec in views
        ]
    )
    subjects = {subject.path: subject for found in by_spec.values() for subject in found}
    return Survey(reader, subjects, families, stacks, views, samples, len(specs) - len(subjects))


def _plan_probe(spec: LeafSpec, views: Mapping[PrefixView, tuple[int, ...]], *, whole: bool, layers: bool) -> Probe:
    stored = stored_spec(spec)
    parts: dict[Section, Indices] = {}
    if whole:
        parts["whole",] = whole_indices(stored.shape)
    if layers:
        parts["layers",] = layer_indices(stored.shape)
    for view, tiers in views.items():
        for rows in tiers:
            parts["prefix", view.axis, rows] = prefix_indices(spec.shape, view.axis, rows)
    return make_probe(stored, parts)


def _is_searched(spec: LeafSpec) -> bool:
    if spec.dtype.kind == "bool":
        return False
    return spec.size >= (_LEAST_INTEGERS if spec.dtype.kind == "integer" else 2)


def _find_stacks(by_spec: Mapping[LeafSpec, Sequence[Subject]]) -> tuple[Subject, ...]:
    """Finds leaves whose layers have the shape of other leaves; those with few layers first."""
    possible = {(spec.dtype, core_shape(spec.shape)) for spec in by_spec if can_be_turned(spec)}
    stackable = []
    for spec in by_spec:
        if (
            not can_be_turned(spec)
            or len(spec.shape) < 2
            or spec.shape[0] < 2
            or spec.size // spec.shape[0] < LEAST_RELATED
        ):
            continue
        core = core_shape(spec.shape[1:])
        few_enough = spec.shape[0] <= (_MOST_VECTORS if len(core) < 2 else _MOST_LAYERS)
        if few_enough and (spec.dtype, core) in possible:
            stackable.append((len(core) < 2, spec.shape[0], spec))
    stacks: list[Subject] = []
    layers = 0
    for _, count, spec in sorted(stackable, key=lambda found: found[:2]):
        layers += count * len(by_spec[spec])
        if layers > _MOST_LAYERS_TOGETHER:
            break
        stacks.extend(by_spec[spec])
    return tuple(stacks)


def _find_prefix_views(specs: Iterable[LeafSpec]) -> dict[LeafSpec, dict[PrefixView, tuple[int, ...]]]:
    views = {spec: _prefix_views(spec) for spec in specs}
    lengths: dict[PrefixGroup, set[int]] = {}
    for found in views.values():
        for view in found:
            lengths.setdefault(view.group, set()).add(view.rows)
    wanted: dict[LeafSpec, dict[PrefixView, tuple[int, ...]]] = {}
    for spec, found in views.items():
        for view in found:
            tiers = {min(rows, MOST_ROWS) for rows in lengths[view.group] if rows < view.rows}
            if any(rows > view.rows for rows in lengths[view.group]):
                tiers.add(view.tier)
            if tiers:
                wanted.setdefault(spec, {})[view] = tuple(sorted(tiers))
    return wanted


def _prefix_views(spec: LeafSpec) -> list[PrefixView]:
    shape, name = spec.shape, spec.dtype.name
    if not can_be_turned(spec) or spec.size < LEAST_RELATED or not shape:
        return []
    views = [PrefixView((name, shape[1:]), 0, shape[0])]
    if len(shape) == 2:
        views.append(PrefixView((name, shape[:1]), 1, shape[1]))
    return views
