"""Candidates: ties that equal samples suggest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tiecli.compare.differences import Bits
from tiecli.detect.classes import Classes, turned_key
from tiecli.detect.hits import HitKind
from tiecli.detect.preferences import Preferences
from tiecli.detect.proofs import Candidate
from tiecli.detect.subjects import Subject, alignment, axis_orders, core_shape, make_transform
from tiecli.detect.survey import LEAST_RELATED, Family, PrefixView, Survey, can_be_turned, family_of
from tiecli.leaves import DType, LeafSpec
from tiecli.transforms import SAME, Transform
from tiecli.transforms.steps import Cast, Pad, Permute, Range, Slice, Step

_LEAST_DISTINCT = 4


def suggest_equal(survey: Survey, classes: Classes) -> Iterator[Candidate]:
    """Suggests that the members of a class are their canonical leaf, perhaps turned."""
    for canonical, *others in classes.members.values():
        for alias in others:
            yield from suggest_turns(survey, canonical, alias)


def suggest_turns(survey: Survey, canonical: Subject, alias: Subject) -> Iterator[Candidate]:
    """Suggests that a leaf is another, perhaps turned, if their samples agree."""
    if transforms := fitting_turns(survey, canonical, alias):
        kind: HitKind = "identical" if transforms[0].is_same else "transposed"
        yield Candidate(kind, canonical, alias, transforms)


def fitting_turns(
    survey: Survey, canonical: Subject, alias: Subject, then: tuple[Step, ...] = ()
) -> tuple[Transform, ...]:
    """Lists the permutations under which the samples of two leaves agree, `same` first."""
    if not can_be_turned(alias.spec):
        return (SAME,)
    bits = survey.samples.rows(alias.path)
    wanted = _canonical_bits(survey, canonical)
    if then:
        wanted = _cast_bits(wanted, canonical.spec.dtype, alias.spec.dtype)
    orders = axis_orders(alias.spec.shape)
    fits = [
        alignment(canonical, alias, order, then)
        for order, row in zip(orders, bits, strict=True)
        if np.array_equal(row, wanted)
    ]
    return tuple(sorted(dict.fromkeys(fits), key=lambda transform: not transform.is_same))


def _canonical_bits(survey: Survey, canonical: Subject) -> Bits:
    if canonical.layer is None:
        first: Bits = survey.samples.rows(canonical.path)[0]
    else:
        first = survey.samples.section(canonical.path, ("layers",))[canonical.layer, 0]
    return first


def suggest_casts(survey: Survey, classes: Classes) -> Iterator[Candidate]:
    """Suggests that leaves are others, rounded to their dtype; the wider one is canonical.

    Where the wide leaf holds no more than the narrow one does, it could be rebuilt from it as
    well, and would save more; the wide one is kept all the same, since whoever stored it so
    will go on writing to it.
    """
    floats = {key: leaf for key, leaf in classes.canonicals.items() if _is_castable(leaf)}
    dtypes: dict[Family, dict[str, DType]] = {}
    for leaf in floats.values():
        dtypes.setdefault(family_of(leaf.spec), {})[leaf.spec.dtype.name] = leaf.spec.dtype
    for wide in floats.values():
        family = family_of(wide.spec)
        for narrow in dtypes[family].values():
            if narrow == wide.spec.dtype or narrow.bits > wide.spec.dtype.bits:
                continue
            rounded = _cast_bits(survey.samples.section(wide.path, ("whole",)), wide.spec.dtype, narrow)
            alias = floats.get((narrow.name, family, turned_key(rounded)))
            if alias is not None and (transforms := fitting_turns(survey, wide, alias, then=(Cast(narrow),))):
                yield Candidate("cast", wide, alias, transforms)


def _is_castable(leaf: Subject) -> bool:
    return leaf.spec.dtype.kind == "float" and leaf.spec.size >= LEAST_RELATED


def _cast_bits(bits: Bits, source: DType, target: DType) -> Bits:
    from tiecli.transforms.casts import cast_array, numpy_dtype

    cast = cast_array(np.ascontiguousarray(bits).view(numpy_dtype(source)), source, target)
    return cast.view(f"u{cast.dtype.itemsize}")


def suggest_slices(survey: Survey, classes: Classes) -> Iterator[Candidate]:
    """Suggests that leaves are layers of stacked ones."""
    canonicals = classes.canonicals
    found: dict[tuple[Subject, Subject], list[Subject]] = {}
    for stack in survey.stacks:
        shape, dtype = stack.spec.shape[1:], stack.spec.dtype
        family: Family = ("", core_shape(shape))
        layers = survey.samples.section(stack.path, ("layers",))
        for number, bits in enumerate(layers):
            alias = canonicals.get((dtype.name, family, turned_key(bits)))
            if alias is not None and alias.path != stack.path:
                layer = Subject(stack.path, LeafSpec(shape, dtype), stack.place, number)
                found.setdefault((alias, stack), []).append(layer)
    for (alias, _), layers_found in found.items():
        transforms = [fit for layer in layers_found for fit in fitting_turns(survey, layer, alias)]
        if transforms:
            yield Candidate("slice", layers_found[0], alias, tuple(transforms))


def suggest_prefixes(survey: Survey, classes: Classes, preferences: Preferences) -> Iterator[Candidate]:
    """Suggests that leaves are the first layers of others, along any axis of a matrix."""
    canonicals = set(classes.canonicals.values())
    sampled: dict[tuple[Any, ...], list[tuple[PrefixView, Subject]]] = {}
    members = (leaf for key, found in classes.members.items() if key not in classes.sparse for leaf in found)
    for subject in members:
        for view, tiers in survey.prefix_views.get(subject.spec, {}).items():
            for tier in tiers:
                bits = survey.samples.section(subject.path, ("prefix", view.axis, tier))
                if len(set(bits.tolist())) >= _LEAST_DISTINCT:
                    sampled.setdefault((view.group, tier, bits.tobytes()), []).append((view, subject))
    seen: set[tuple[Subject, Subject]] = set()
    for (_, tier, _), matches in sampled.items():
        # A leaf that only follows from another may still be the only one that is stored the right way round.
        matches.sort(key=lambda match: (-match[0].rows, match[1] not in canonicals, match[1].place))
        long_view, long = matches[0]
        for view, short in matches[1:]:
            fits = view.rows < long_view.rows and view.tier == tier and short in canonicals
            if fits and (long, short) not in seen:
                seen.add((long, short))
                yield from _prefix_candidates(long, long_view.axis, short, view.axis, preferences)


def _prefix_candidates(
    long: Subject, long_axis: int, short: Subject, axis: int, preferences: Preferences
) -> Iterator[Candidate]:
    turn: tuple[Step, ...] = () if axis == long_axis else (Permute((1, 0)),)
    rows, long_rows = short.spec.shape[axis], long.spec.shape[long_axis]
    taken = Slice((*[Range()] * long_axis, Range(stop=rows)))
    if preferences.is_decided(long, short) and preferences.choose(long, short) is short:
        yield Candidate("prefix", short, long, (make_transform((Pad(axis, 0, long_rows - rows), *turn)),))
    yield Candidate("prefix", long, short, (make_transform((taken, *turn)),))
