"""Candidates: ties that equal samples suggest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiecli.detect.hits import HitKind
from tiecli.detect.preferences import Preferences
from tiecli.detect.proofs import Candidate
from tiecli.detect.sparse import fingerprint_sparse
from tiecli.detect.subjects import Subject, alignment, axis_orders, core_shape, make_transform
from tiecli.detect.survey import LEAST_RELATED, Family, PrefixView, Survey, family_of
from tiecli.differences import Bits
from tiecli.leaves import DType, LeafSpec
from tiecli.transforms import SAME, Transform
from tiecli.transforms.steps import Cast, Pad, Permute, Range, Slice, Step

ClassKey = tuple[str, Family, bytes]
"""A dtype, a family, and samples that are the same however the leaf is turned."""

_LEAST_DISTINCT = 4
_LEAST_DISTINCT_INTEGERS = 16


@dataclass(frozen=True, slots=True)
class Classes:
    """Leaves whose samples agree, however they are turned.

    Attributes:
        members: The canonical leaf of each class, then the others.
        sparse: Classes whose samples hold one value only; the key is of the whole leaf.
    """

    members: Mapping[ClassKey, tuple[Subject, ...]]
    sparse: frozenset[ClassKey]

    @property
    def canonicals(self) -> dict[ClassKey, Subject]:
        """The canonical leaf of each class with telling samples."""
        return {key: found[0] for key, found in self.members.items() if key not in self.sparse}


def form_classes(survey: Survey, preferences: Preferences) -> Classes:
    """Groups whole leaves by their samples; constant leaves are left out."""
    groups: dict[ClassKey, list[Subject]] = {}
    blank: dict[ClassKey, list[Subject]] = {}
    for family, members in survey.families.items():
        for subject in members:
            if subject.path in survey.samples.constant:
                continue
            if not survey.samples.has(subject.path, ("whole",)):
                groups[subject.spec.dtype.name, family, b""] = [subject]
                continue
            bits = survey.samples.section(subject.path, ("whole",))
            key = (subject.spec.dtype.name, family, _turned_key(bits))
            if (bits == bits[0, 0]).all():
                blank.setdefault(key, []).append(subject)
            elif _is_telling(survey, subject, bits):
                groups.setdefault(key, []).append(subject)
    sparse: dict[ClassKey, list[Subject]] = {}
    for key, found in blank.items():
        background = int(survey.samples.section(found[0].path, ("whole",))[0, 0])
        for subject in found if len(found) > 1 else ():
            fingerprint = fingerprint_sparse(survey.samples, subject, background)
            if fingerprint is not None and subject.spec.dtype.kind != "integer":
                sparse.setdefault((*key[:2], fingerprint), []).append(subject)
    ordered = {key: _canonical_first(found, preferences) for key, found in (groups | sparse).items()}
    return Classes(ordered, frozenset(sparse))


def _turned_key(bits: Bits) -> bytes:
    return b"".join(sorted(row.tobytes() for row in bits)) if len(bits) > 1 else bits.tobytes()


def _canonical_first(found: list[Subject], preferences: Preferences) -> tuple[Subject, ...]:
    if len(found) == 1:
        return tuple(found)
    chosen = preferences.choose_among(found)
    return (chosen, *(subject for subject in found if subject is not chosen))


def _is_telling(survey: Survey, subject: Subject, bits: Bits) -> bool:
    """Whether a leaf is worth a tie: integers that count up, or are few, are indices and not weights."""
    if subject.spec.dtype.kind != "integer":
        return True
    values = bits[0].view(subject.spec.dtype.numpy_name).astype(np.float64)
    if len(set(values.tolist())) < _LEAST_DISTINCT_INTEGERS:
        return False
    places = survey.samples.probe_of(subject.path).indices[: bits.shape[1]].astype(np.float64)
    spread = places.max() - places.min()
    at = [int(places.argmin()), int(places.argmax())]
    slope = (values[at[1]] - values[at[0]]) / spread
    return not np.allclose(values, values[at[0]] + slope * (places - places[at[0]]), rtol=1e-9, atol=0.5)


def suggest_equal(survey: Survey, classes: Classes) -> Iterator[Candidate]:
    """Suggests that the members of a class are their canonical leaf, perhaps turned."""
    for key, (canonical, *others) in classes.members.items():
        sparse = key in classes.sparse
        for alias in others:
            yield from suggest_turns(survey, canonical, alias, all_orders=sparse)


def suggest_turns(
    survey: Survey, canonical: Subject, alias: Subject, *, all_orders: bool = False
) -> Iterator[Candidate]:
    """Suggests that a leaf is another, perhaps turned, if their samples agree or have nothing to say."""
    if transforms := fitting_turns(survey, canonical, alias, all_orders=all_orders):
        kind: HitKind = "identical" if transforms[0].is_same else "transposed"
        yield Candidate(kind, canonical, alias, transforms, is_telling=not all_orders)


def fitting_turns(
    survey: Survey, canonical: Subject, alias: Subject, *, all_orders: bool = False, then: tuple[Step, ...] = ()
) -> tuple[Transform, ...]:
    """Lists the permutations under which the samples of two leaves agree, `same` first."""
    if alias.spec.dtype.kind == "packed":
        return (SAME,)
    bits = survey.samples.section(alias.path, ("whole",))
    wanted = _canonical_bits(survey, canonical)
    if then:
        wanted = _cast_bits(wanted, canonical.spec.dtype, alias.spec.dtype)
    orders = axis_orders(alias.spec.shape)
    fits = [
        alignment(canonical, alias, order, then)
        for order, row in zip(orders, bits, strict=True)
        if all_orders or np.array_equal(row, wanted)
    ]
    return tuple(sorted(dict.fromkeys(fits), key=lambda transform: not transform.is_same))


def _canonical_bits(survey: Survey, canonical: Subject) -> Bits:
    if canonical.layer is None:
        first: Bits = survey.samples.section(canonical.path, ("whole",))[0]
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
            alias = floats.get((narrow.name, family, _turned_key(rounded)))
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
            alias = canonicals.get((dtype.name, family, _turned_key(bits)))
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
    for subject in (
        subject for key, found in classes.members.items() if key not in classes.sparse for subject in found
    ):
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
