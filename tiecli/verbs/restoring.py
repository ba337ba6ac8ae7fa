"""Restoring: the optimizer's state of leaves that `untie` stores again."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.apply import is_as_tied
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.moments import RestoredState, Rule, choose_copy
from tiecli.plan import Plan
from tiecli.reports import ReportedSlot
from tiecli.slots import SLOTS, Keys, read_paths, tells_of_state
from tiecli.ties import TieSet


def restore_state(reader: CheckpointReader, plan: Plan) -> RestoredState:
    """Finds the slots of the aliases that a plan restores."""
    manifest = reader.manifest()
    records = manifest.by_alias if manifest else {}
    recorded = {alias: record.alias_spec for alias, record in records.items()}
    ties = [planned.tie for planned in plan.restored]
    if not tells_of_state(path.keys for path in (*reader.specs(), *records)):
        return RestoredState()
    from tiecli.moments.untying import plan_restored

    parameters = [tie for tie in ties if tie.alias not in records or not records[tie.alias].slot]
    return plan_restored(reader, TieSet(tuple(parameters)), recorded)


def report_restored(reader: CheckpointReader, plan: Plan, state: RestoredState) -> tuple[ReportedSlot, ...]:
    """Reports every slot that comes back."""
    return tuple(_report(reader, plan, state))


def word_restored(state: RestoredState) -> Iterator[str]:
    """Words what does not come back."""
    for path in state.unknown:
        yield f"`{path.spelling}` has no known counterpart for a leaf of its own, so the program must make one"


def _report(reader: CheckpointReader, plan: Plan, state: RestoredState) -> Iterator[ReportedSlot]:
    manifest = reader.manifest()
    records = manifest.by_alias if manifest else {}
    readings = read_paths(alias.keys for alias, record in records.items() if record.slot)
    copied = {slot.alias: slot for slot in state.copied}
    for planned in plan.restored:
        tie = planned.tie
        record = records.get(tie.alias)
        names = (tie.alias.spelling, tie.canonical, tie.transform)
        if tie.alias in copied:
            slot = copied[tie.alias]
            yield ReportedSlot(slot.slot, *names, slot.regime, *slot.rule)
        elif record is not None and record.slot:
            reading = readings.get(tie.alias.keys)
            name = reading.slot if reading else _name_slot(tie.alias.keys)
            as_was = record.exact and is_as_tied(reader, record)
            rule = Rule("as it was, bit for bit") if as_was else choose_copy(tie.transform, differed=True)
            yield ReportedSlot(name, *names, "replicas", *rule)


def _name_slot(keys: Keys) -> str:
    """Names a slot by its path, where the state of an optimizer is a checkpoint of its own."""
    return next((str(key) for key in reversed(keys) if key in SLOTS), str(keys[-1]))
