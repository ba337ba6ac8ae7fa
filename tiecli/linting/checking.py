"""Checking: one checkpoint through all rules, and what the settings make of what they say."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import TiecliError
from tiecli.linting.engine import Failure, NotChecked, run_rules
from tiecli.linting.fingerprints import take_fingerprint
from tiecli.linting.registry import CODES, find_rule
from tiecli.linting.report import LintFailure, ReportedFinding
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.settings import Settings
from tiecli.linting.subject import Subject
from tiecli.linting.tying import list_unmatched

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tiecli.checkpoints.protocol import Progress, Tracker
    from tiecli.linting.declaring import DeclaredPair


class Checked(NamedTuple):
    """What was found in one checkpoint.

    Attributes:
        checkpoint: Its root, as the report spells it.
        findings: What is left after the settings, in no order.
        not_checked: Rules that could not run for want of something.
        failures: Rules that failed, or the checkpoint itself.
        unmatched: Ties declared for it that stand for none of its leaves.
    """

    checkpoint: str
    findings: tuple[ReportedFinding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    failures: tuple[LintFailure, ...] = ()
    unmatched: tuple[DeclaredPair, ...] = ()


def check_unit(
    unit: Unit, settings: Settings, track: Tracker | None = None, listing: frozenset[str] | None = None
) -> Checked:
    """Runs the selected rules over one checkpoint; nothing that goes wrong with it is raised.

    Args:
        unit: The checkpoint.
        settings: Which rules run, and what becomes of what they find.
        track: Shows the progress of reading it, where array data is read.
        listing: Names of the files in its directory, if they are known already.
    """
    root = spell_path(unit.root)
    declared = settings.declared_for(make_absolute(unit.root)) if settings.ties else ()
    subject = Subject(unit, declared, settings.codes, listing=listing)
    try:
        # What cannot be read at all is one failure, and not one of every rule.
        _ = subject.safetensors if unit.format == "safetensors" else subject.orbax
        data = settings.level == "data"
        with _tracking(subject, root, track if data else None) as progress:
            subject.progress = progress or subject.progress
            outcome = run_rules(subject, _list_selected(settings.codes), data=data)
        unmatched = list_unmatched(subject)
    except TiecliError as error:
        return Checked(root, failures=(LintFailure(root, "", error.message, " ".join(error.hints)),))
    except Exception as error:  # noqa: BLE001  # one checkpoint of many; the caller says that it was not linted
        problem = f"failed unexpectedly: {type(error).__name__}: {error}"[:300]
        return Checked(root, failures=(LintFailure(root, "", problem, "Please report it."),))
    finally:
        subject.close()
    found = [_report(unit, root, rule, finding, settings) for rule, finding in outcome.found]
    return Checked(
        root,
        tuple(finding for finding in found if finding is not None),
        outcome.not_checked,
        tuple(_merge_failures(outcome.failures, root)),
        unmatched,
    )


def spell_path(path: Path) -> str:
    """Spells a path for a report: relative to the present directory if it lies below, else absolute."""
    text = str(path)
    if not text.startswith("/") and ".." not in text:
        return text
    absolute, here = make_absolute(path), str(Path.cwd())
    return "." if absolute == here else absolute.removeprefix(here.rstrip("/") + "/")


def make_absolute(path: Path) -> str:
    """Makes a path absolute without following its links, so that it stays what somebody gave."""
    return os.path.abspath(path)  # noqa: PTH100


@lru_cache(4)
def _list_selected(codes: frozenset[str]) -> tuple[Rule, ...]:
    return tuple(find_rule(code) for code in CODES if code in codes)


def _tracking(subject: Subject, root: str, track: Tracker | None) -> AbstractContextManager[Progress | None]:
    """Opens the progress display for the bytes of a checkpoint's leaves."""
    if track is None or subject.reader is None:
        return nullcontext(None)
    return track(f"reading {root}", sum(spec.nbytes for spec in subject.reader.specs().values()))


def _report(unit: Unit, root: str, rule: Rule, finding: Finding, settings: Settings) -> ReportedFinding | None:
    """Places a finding; None if the settings ignore it."""
    path = unit.directory / finding.file if finding.file else unit.root
    if settings.is_ignored(rule.code, make_absolute(path), finding.leaves):
        return None
    return ReportedFinding(
        root,
        spell_path(path) if finding.file else root,
        rule.code,
        rule.name,
        settings.severities.get(rule.code, rule.severity),
        finding.message,
        finding.leaves,
        take_fingerprint(rule.code, finding),
        finding.fix,
        finding.hint,
    )


def _merge_failures(failures: Iterable[Failure], root: str) -> Iterable[LintFailure]:
    """Lists failures; what several rules stumbled over, such as a file that may not be read, is told once."""
    by_message: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        by_message.setdefault((failure.message, failure.hint), []).append(failure.code)
    for (message, hint), codes in by_message.items():
        yield LintFailure(root, codes[0] if len(codes) == 1 else "", message, hint)
