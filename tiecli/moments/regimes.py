"""Regimes: whether two leaves were trained as copies of one, apart, or only one of them; told by their state."""

from __future__ import annotations

from collections.abc import Sequence

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import compare_leaf
from tiecli.moments.rules import Regime
from tiecli.moments.values import is_zero
from tiecli.ties import Tie


def find_regime(reader: CheckpointReader, ties: Sequence[Tie]) -> Regime:
    """Tells how an alias and its canonical leaf were trained.

    Args:
        reader: The checkpoint.
        ties: How each slot that the alias gathered gradients in would follow from the canonical leaf's.
    """
    if not ties:
        return "empty"
    alias_is_zero = all(is_zero(reader, tie.alias) for tie in ties)
    canonical_is_zero = all(is_zero(reader, path) for tie in ties for path in tie.canonicals)
    if alias_is_zero:
        return "empty" if canonical_is_zero else "dead"
    return "replicas" if all(_agrees(reader, tie) for tie in ties) else "independent"


def _agrees(reader: CheckpointReader, tie: Tie) -> bool:
    """Whether the alias's slot is, bit for bit, what it is for a copy that is kept equal."""
    specs = reader.specs()
    if tie.transform.spec([specs[path] for path in tie.canonicals]) != specs[tie.alias]:
        return False
    return compare_leaf(reader, tie.alias, reader, tie.canonicals, tie.transform, measure=False).equal
