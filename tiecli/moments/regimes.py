"""Regimes: whether two leaves were trained as copies of one, apart, or only one of them; told by their state."""

from __future__ import annotations

from collections.abc import Sequence

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import compare_leaf
from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.moments.rules import Regime
from tiecli.moments.values import is_within
from tiecli.ties import Tie

# Source: Adafactor (optax, t5x, torch, fairseq) adds this to every square, those of no gradient too.
_ADAFACTOR_EPSILON = 1.0001e-30
_OF_SQUARES = ("square", "factor")


def find_regime(reader: CheckpointReader, slots: Sequence[tuple[str, Tie]]) -> Regime:
    """Tells how an alias and its canonical leaf were trained.

    Args:
        reader: The checkpoint.
        slots: Of each slot that the alias gathered gradients in, its kind, and how it would
            follow from the canonical leaf's.
    """
    if not slots:
        return "empty"
    alias_is_zero = all(is_idle(reader, kind, tie.alias) for kind, tie in slots)
    if alias_is_zero:
        idle = all(is_idle(reader, kind, path) for kind, tie in slots for path in tie.canonicals)
        return "empty" if idle else "dead"
    return "replicas" if all(agrees(reader, tie) for _, tie in slots) else "independent"


def agrees(reader: CheckpointReader, tie: Tie) -> bool:
    """Whether the alias's slot is, bit for bit, what it is for a copy that is kept equal."""
    specs = reader.specs()
    try:
        if tie.transform.spec([specs[path] for path in tie.canonicals]) != specs[tie.alias]:
            return False
    except TransformMismatchError:
        return False
    return compare_leaf(reader, tie.alias, reader, tie.canonicals, tie.transform, measure=False).equal


def is_idle(reader: CheckpointReader, kind: str, path: KeyPath) -> bool:
    """Whether a slot of some kind has gathered nothing."""
    return is_within(reader, path, _ADAFACTOR_EPSILON if kind in _OF_SQUARES else 0.0)
