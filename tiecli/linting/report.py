"""Report: what a run of the linter found, in all checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tiecli.linting.rule import SEVERITIES, Fix, Severity

FailOn = Literal[Severity, "never"]


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """One finding, with the checkpoint it is of and the severity it has here.

    Attributes:
        checkpoint: The checkpoint's root, relative to where the command runs if it lies below.
        path: The file it concerns, spelled likewise; the checkpoint itself where it concerns the whole.
        code: The rule's code.
        name: The rule's name.
        severity: After the settings' overrides.
        message: What was found.
        leaves: The leaves it concerns, the first the foremost.
        fingerprint: 16 hex digits, the same wherever the checkpoint lies and however its bytes are laid out.
        fix: What would mend it, if anything.
        hint: What a person can do; empty where the fix says it.
    """

    checkpoint: str
    path: str
    code: str
    name: str
    severity: Severity
    message: str
    leaves: tuple[str, ...]
    fingerprint: str
    fix: Fix | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A rule that did not run, with the checkpoints it did not run on.

    Attributes:
        code: The rule's code.
        reason: What it lacked.
        checkpoints: Where.
    """

    code: str
    reason: str
    checkpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LintFailure:
    """What could not be linted.

    Attributes:
        path: The checkpoint, or the path that is none.
        code: The rule that failed; empty if nothing could be looked at.
        message: What happened.
        hint: What to do about it.
    """

    path: str
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class AppliedFix:
    """A fix that was carried out, or (with `--diff`) would be.

    Attributes:
        checkpoint: Whose.
        code: The rule whose finding it mends.
        summary: What changed, in one line.
        edits: The changes, one line each.
    """

    checkpoint: str
    code: str
    summary: str
    edits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LintReport:
    """What a run found.

    Attributes:
        checkpoints: Every checkpoint looked at, in order.
        findings: What remains, by checkpoint, then by severity, then by code.
        not_checked: Rules that did not run for want of something.
        failures: What could not be linted; with any, the exit code is 2.
        fixes: What was mended, or would be.
        dry: Whether the fixes are only shown.
        suppressed: How many findings the baseline holds back.
        stale: How many entries of the baseline were not found any more.
        fail_on: The mildest severity that makes the run fail; `never` for none.
        notices: One line each, for the person at the terminal: which declared ties stand for no leaf,
            which fixes could not be carried out, and why.
    """

    checkpoints: tuple[str, ...]
    findings: tuple[ReportedFinding, ...]
    not_checked: tuple[Unchecked, ...] = ()
    failures: tuple[LintFailure, ...] = ()
    fixes: tuple[AppliedFix, ...] = ()
    dry: bool = False
    suppressed: int = 0
    stale: int = 0
    fail_on: FailOn = "warning"
    notices: tuple[str, ...] = ()

    def count(self, severity: Severity) -> int:
        """Counts the findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def fails(self) -> bool:
        """Whether a finding is at least as bad as `fail_on`."""
        return any(is_at_least(finding.severity, self.fail_on) for finding in self.findings)


def is_at_least(severity: Severity, limit: FailOn) -> bool:
    """Whether one severity is as bad as another, or worse.

    Example:
        >>> is_at_least("error", "warning"), is_at_least("info", "warning"), is_at_least("error", "never")
        (True, False, False)
    """
    return limit != "never" and SEVERITIES.index(severity) <= SEVERITIES.index(limit)


def sort_findings(findings: Iterable[ReportedFinding]) -> tuple[ReportedFinding, ...]:
    """Sorts findings by checkpoint, then from the worst on, then by code, file and leaves."""
    return tuple(
        sorted(findings, key=lambda it: (it.checkpoint, SEVERITIES.index(it.severity), it.code, it.path, it.leaves))
    )
