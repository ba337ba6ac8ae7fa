"""Surveying: which leaves may have to do with each other by their shapes, and samples of those."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tiecli.checkpoints.protocol import RAW, CheckpointReader, Progress
from tiecli.declared import list_shared
from tiecli.detect.preferences import Preferences
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
from tiecli.detect.twins import Forms, find_shared, find_twins
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
        shared: Leaves that are second names of the stored bytes of others; these stand for both.
        skipped: How many leaves are of no kind that is searched.
    """

    reader: CheckpointReader
    subjects: Mapping[KeyPath, Subject]
    families: Mapping[Family, Sequence[Subject]]
    stacks: tuple[Subject, ...]
    prefix_views: Mapping[LeafSpec, Mapping[PrefixView, tuple[int, ...]]]
    samples: Samples
    shared: Collection[KeyPath]
    skipped: int


def family_of(spec: LeafSpec) -> Family:
    """Says which family a leaf is in; leaves that cannot be turned are of one family only if their specs are equal."""
    return ("", core_shape(spec.shape)) if can_be_turned(spec) else (spec.dtype.name, spec.shape)


def can_be_turned(spec: LeafSpec) -> bool:
    """Whether a leaf can be transformed at all: its elements are whole bytes and its axes not too many."""
    return spec.dtype.kind != "packed" and len(spec.shape) <= MAX_RANK


def take_survey(reader: CheckpointReader, preferences: Preferences, progress: Progress) -> Survey:
    """Groups leaves by shape and samples those that have a counterpart.

    Args:
        reader: The checkpoint.
        preferences: Which leaf to keep, and which are stated to be tied: these are sampled whatever they are.
        progress: Told the bytes read.
    """
    specs = reader.specs()
    forms = {path: reader.stored_form(path) for path in specs}
    leaves = [Subject(path, spec, place) for place, (path, spec) in enumerate(specs.items())]
    shared = _list_shared(reader, forms, leaves, preferences)
    stated = {path for pair in preferences.stated for path in pair}
    by_spec = _group_by_spec((leaf for leaf in leaves if leaf.path not in shared), stated)
    stated_specs = {specs[path] for path in stated if path in specs}
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
    subjects = {subject.path: subject for found in by_spec.values() for subject in found}
    samples = Samples(reader, progress, {path for path, form in forms.items() if form.encoding != RAW})
    samples.twins = find_twins(reader, {path: forms[path] for path in subjects}, samples.count)
    shallow = bool(samples.compressed)
    samples.read(
        [
            (_plan_probe(spec, views.get(spec, {}), spec in wanted, spec in stack_specs, shallow), found)
            for spec, found in by_spec.items()
            if spec in wanted or spec in stack_specs or spec in views
        ]
    )
    skipped = len(specs) - len(subjects) - len(shared)
    return Survey(reader, subjects, families, stacks, views, samples, shared, skipped)


def _list_shared(
    reader: CheckpointReader, forms: Forms, leaves: Sequence[Subject], preferences: Preferences
) -> frozenset[KeyPath]:
    """Lists leaves that are second names of others' stored bytes: these are tied already."""
    subjects = {leaf.path: leaf for leaf in leaves}
    shared = set(list_shared(reader))
    for group in find_shared(reader, forms):
        if others := [subjects[path] for path in group if path not in shared]:
            kept = preferences.choose_among(others)
            shared.update(subject.path for subject in others if subject is not kept)
    return frozenset(shared)


def _group_by_spec(leaves: Iterable[Subject], stated: Collection[KeyPath]) -> dict[LeafSpec, list[Subject]]:
    """Groups the leaves that are searched: those that may be weights, and those that a tie is stated for."""
    by_spec: dict[LeafSpec, list[Subject]] = {}
    for leaf in leaves:
        if leaf.spec.size and (leaf.path in stated or _is_searched(leaf.spec)):
            by_spec.setdefault(leaf.spec, []).append(leaf)
    return by_spec


def _plan_probe(
    spec: LeafSpec, views: Mapping[PrefixView, tuple[int, ...]], whole: bool, layers: bool, shallow: bool
) -> Probe:
    stored = stored_spec(spec)
    parts: dict[Section, Indices] = {}
    if whole:
        parts["whole",] = whole_indices(stored.shape, shallow=shallow)
    if layers:
        parts["layers",] = layer_indices(stored.shape, shallow=shallow)
    for view, tiers in views.items():
        for rows in tiers:
            parts["prefix", view.axis, rows] = prefix_indices(spec.shape, view.axis, rows, shallow=shallow)
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
