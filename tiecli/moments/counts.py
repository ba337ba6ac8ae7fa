"""Counts: the steps that an optimizer took, for all parameters or for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import compare_leaf
from tiecli.errors import StateConflictError
from tiecli.keypaths import KeyPath
from tiecli.moments.rules import CarriedSlot, Policy
from tiecli.slots import Keys, SlotReport, SlotTree, find_root
from tiecli.ties import Tie
from tiecli.transforms import SAME

# Source: optax 0.2 (`count`, `mini_step`, …) and torch.optim (`step`).
_COUNTS = frozenset({"count", "step", "mini_step", "gradient_step", "inner_count"})


def list_counts(reader: CheckpointReader, report: SlotReport) -> list[KeyPath]:
    """Lists the counts of all optimizers of a checkpoint."""
    above = {tree.above[:1] for tree in report.trees}
    return [
        path
        for path, spec in reader.specs().items()
        if spec.size == 1 and path.keys[-1] in _COUNTS and (find_root(path.keys) is not None or path.keys[:1] in above)
    ]


def pair_counts(
    reader: CheckpointReader, report: SlotReport, trees: Sequence[SlotTree], tie: Tie, policy: Policy
) -> Iterator[CarriedSlot]:
    """Yields what else is kept for an alias alone: its count goes, if it is its canonical leaf's.

    Raises:
        StateConflictError: The counts differ, or what is kept has no known rule.
    """
    known = {leaf.keys for tree in report.trees for leaf in (*tree.held.values(), *tree.orphans.values())}
    endings = {tree.held[tie.alias.keys].keys: tree for tree in trees}
    for path, spec in reader.specs().items():
        place = None if path.keys in known or path.keys in report.parameters else _find_inside(path.keys, endings, tie)
        if place is None:
            continue
        twins = tuple(KeyPath(path.keys[: place[0]] + part + path.keys[place[1] :]) for part in place[2])
        twin = twins[0]
        slot = Tie(path, (twin,), SAME)
        if spec.size == 1 and path.keys[-1] in _COUNTS and twin in reader.specs():
            if policy == "carry" and not compare_leaf(reader, path, reader, (twin,), SAME, measure=False).equal:
                raise StateConflictError(
                    f"`{path.spelling}` and `{twin.spelling}` count different steps, and one leaf has one count",
                    "`--state reset` begins both anew.",
                )
            yield CarriedSlot(str(path.keys[-1]), "count", slot, "counts", "one of two equal counts kept", True)
        else:
            raise StateConflictError(
                f"`{path.spelling}` is {spec}, kept for `{tie.alias.spelling}` by an optimizer without a known rule",
                "Save the parameters without optimizer state, and tie those.",
            )


def _find_inside(keys: Keys, endings: dict[Keys, SlotTree], tie: Tie) -> tuple[int, int, tuple[Keys, ...]] | None:
    """Finds where a path has that of the alias in it, as its slots have; and what the canonical leaves have there."""
    for held, tree in endings.items():
        spelled = tie.alias.keys[len(tree.root) :]
        start = _index(held, spelled)
        if start is None:
            continue
        at = _index(keys, spelled)
        if at is not None and find_root(keys) == find_root(held) and len(keys) > len(spelled):
            parts = tuple(path.keys[len(tree.root) :] for path in tie.canonicals)
            return at, at + len(spelled), parts
    return None


def _index(keys: Keys, part: Keys) -> int | None:
    """Finds where a part of a path begins."""
    starts = (start for start in range(len(keys) - len(part) + 1) if keys[start : start + len(part)] == part)
    return next(starts, None)
