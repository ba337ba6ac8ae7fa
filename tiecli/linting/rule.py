"""Rules: what one check is called, what it needs, what it looks for, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tiecli.linting.edits import Edit
    from tiecli.linting.subject import Subject

Severity = Literal["error", "warning", "info"]
Need = Literal["header", "data", "config", "tokenizer"]
Format = Literal["safetensors", "orbax"]
Cure = Literal["none", "safe", "unsafe", "either"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""From the worst on."""


@dataclass(frozen=True, slots=True)
class Fix:
    """What would mend a finding.

    Attributes:
        summary: What would change, in one line without a period: "drop `lm_head.weight`, 109.4 MiB".
        edits: The changes.
        safe: Whether no correct loader could compute anything else afterwards.
    """

    summary: str
    edits: tuple[Edit, ...]
    safe: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found in one checkpoint.

    Attributes:
        message: One or two sentences, names in backticks, found and expected values with units.
        leaves: The leaves it concerns, the first the foremost.
        file: The file it concerns, by its name within the checkpoint; empty for the whole.
        fact: What tells it from other findings of the rule on the same leaves and file, and
            stays the same when the checkpoint is moved or saved again; empty if nothing is needed.
        fix: What would mend it; None if nothing does by itself.
        hint: What a person can do, as a sentence; the next command if there is one.
    """

    message: str
    leaves: tuple[str, ...] = ()
    file: str = ""
    fact: str = ""
    fix: Fix | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One check, and the page about it.

    Attributes:
        code: Permanent, three letters and three digits.
        name: Reads as "allow *name*": the pattern, not its cure.
        severity: Unless settings say otherwise.
        needs: What it reads. With `data`, array bytes; with `config`, the rule is listed as
            not checked where there is no `config.json` and no declared tie that serves instead.
        formats: Where it applies.
        cure: Whether `--fix` mends it: `either` if that depends on what was found.
        check: Yields what it finds.
        what: What it finds, one sentence or more.
        why: Why that is bad, for whom, and how it shows.
        mend: What a fix does and why it is safe or not; what a person does if there is none.
        bad: A checkpoint that has it, as a short listing.
        good: The same without it.
        threads: The public failures behind it, as `repository#number`.
        default: Whether it runs unless selected by name.
    """

    code: str
    name: str
    severity: Severity
    needs: tuple[Need, ...]
    formats: tuple[Format, ...]
    cure: Cure
    check: Callable[[Subject], Iterable[Finding]]
    what: str
    why: str
    mend: str
    bad: str
    good: str
    threads: tuple[str, ...] = ()
    default: bool = True
