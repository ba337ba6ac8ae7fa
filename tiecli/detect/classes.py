"""Classes: whole leaves whose samples agree, however they are turned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tiecli.compare.differences import Bits
from tiecli.detect.preferences import Preferences
from tiecli.detect.sparse import fingerprint_sparse
from tiecli.detect.subjects import Subject
from tiecli.detect.survey import Family, Survey

ClassKey = tuple[str, Family, bytes]
"""A dtype, a family, and samples that are the same however the leaf is turned."""

_LEAST_DISTINCT_INTEGERS = 16


@dataclass(frozen=True, slots=True)
class Classes:
    """Leaves whose samples agree, however they are turned.

    Attributes:
        members: The canonical leaf of each class, then the others.
        sparse: Classes whose samples hold one value only; their key is of the whole leaf.
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
            key = (subject.spec.dtype.name, family, turned_key(bits))
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
                survey.samples.sparse[subject.path] = fingerprint
                sparse.setdefault((*key[:2], turned_key(fingerprint)), []).append(subject)
    ordered = {key: _canonical_first(found, preferences) for key, found in (groups | sparse).items()}
    return Classes(ordered, frozenset(sparse))


def turned_key(bits: Bits) -> bytes:
    """Gives what the samples of a leaf are however it is turned: those of all its turns, in one order."""
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
