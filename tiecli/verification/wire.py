"""Wire: what verifying finds, as bytes for another process, and back."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

from tiecli import errors
from tiecli.errors import TiecliError
from tiecli.leaves import DTYPES, DType, LeafSpec
from tiecli.verification import verdicts

_NOUNS = {
    noun.__name__: noun
    for noun in (
        verdicts.Judgement,
        verdicts.GradientMeasure,
        verdicts.DifferencePicture,
        verdicts.TieVerdict,
        verdicts.LossCheck,
        verdicts.Trajectory,
        verdicts.OtherLeaves,
    )
}


def to_wire(found: object) -> bytes:
    """Spells nouns of a report, tuples, numbers, strings and errors of tiecli's own as JSON.

    Floats keep every bit that is not a NaN's payload.

    Example:
        >>> from_wire(to_wire((verdicts.Judgement("FAIL", "it differs"), 0.1, None)))
        (Judgement(verdict='FAIL', reason='it differs'), 0.1, None)
    """
    return json.dumps(_encode(found)).encode()


def from_wire(raw: bytes) -> Any:
    """Gives back what was spelled; every list comes back as a tuple."""
    return _decode(json.loads(raw))


def _encode(found: Any) -> object:
    if isinstance(found, LeafSpec):
        return {"LeafSpec": [list(found.shape), found.dtype.name]}
    if isinstance(found, TiecliError):
        return {type(found).__name__: [found.message, *found.hints]}
    if is_dataclass(found):
        return {type(found).__name__: [_encode(getattr(found, field.name)) for field in fields(found)]}
    if isinstance(found, tuple | list):
        return [_encode(item) for item in found]
    return found


def _decode(found: Any) -> Any:
    if isinstance(found, list):
        return tuple(map(_decode, found))
    if not isinstance(found, dict):
        return found
    ((name, members),) = found.items()
    values = _decode(members)
    if name == "LeafSpec":
        shape, dtype = values
        return LeafSpec(shape, _dtype(dtype))
    noun: Any = _NOUNS.get(name) or getattr(errors, name)
    return noun(*values)


def _dtype(name: str) -> DType:
    return DTYPES[name]
