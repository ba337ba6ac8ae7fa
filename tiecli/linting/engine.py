"""Engine: runs rules over one checkpoint; one that fails stops neither the others nor the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tiecli.errors import ConfigFileError, TiecliError
from tiecli.linting.rule import Finding, Need, Rule
from tiecli.linting.subject import Subject

_HEADER = ("header",)

MOST_FINDINGS = 100_000
"""Of one rule in one checkpoint. Only files that are made to be hostile have more, and they are not to fill memory."""


class NotChecked(NamedTuple):
    """A rule that could not run on a checkpoint, and why."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be linted: a checkpoint, or a rule that failed on it.

    Attributes:
        code: The rule; empty if nothing could be looked at.
        message: What happened.
        hint: What to do about it.
    """

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rules said of one checkpoint.

    Attributes:
        found: Each rule with what it found.
        not_checked: Rules that could not run for want of data, config or tokenizer.
        failures: Rules that failed.
    """

    found: tuple[tuple[Rule, Finding], ...]
    not_checked: tuple[NotChecked, ...]
    failures: tuple[Failure, ...]


def run_rules(subject: Subject, rules: Iterable[Rule], *, data: bool) -> Outcome:
    """Runs rules over one checkpoint.

    Args:
        subject: The checkpoint.
        rules: The rules; those that do not apply to its format are passed over.
        data: Whether array bytes may be read.
    """
    found: list[tuple[Rule, Finding]] = []
    not_checked: list[NotChecked] = []
    failures: list[Failure] = []
    rules = tuple(rules)
    subject.asked = subject.asked or frozenset(rule.code for rule in rules)
    for rule in rules:
        if subject.unit.format not in rule.formats:
            continue
        try:
            # Most rules need nothing else, and thousands of checkpoints ask each of them.
            if rule.needs != _HEADER and (missing := _find_missing(subject, rule, data=data)):
                not_checked.append(NotChecked(rule.code, missing))
                continue
            # What a rule has found before it fails counts.
            for number, finding in enumerate(rule.check(subject)):
                if number == MOST_FINDINGS:
                    failures.append(_tell_of_more(rule))
                    break
                found.append((rule, finding))
        except TiecliError as error:
            failures.append(Failure(rule.code, error.message, " ".join(error.hints)))
        except Exception as error:  # noqa: BLE001  # the others still run; the caller says that this one failed
            failures.append(_describe_crash(rule, error, subject))
    return Outcome(tuple(found), tuple(not_checked), tuple(failures))


def _tell_of_more(rule: Rule) -> Failure:
    problem = f"`{rule.name}` has more than {MOST_FINDINGS:,} findings; the others are not listed"
    return Failure(rule.code, problem, f"`--ignore {rule.code}` leaves the rule out.")


def _describe_crash(rule: Rule, error: Exception, subject: Subject) -> Failure:
    leaf = _find_leaf(error, subject)
    where = f" at `{leaf}`" if leaf is not None else ""
    problem = f"{type(error).__name__}: {error}"[:300]
    return Failure(
        rule.code,
        f"`{rule.name}` failed{where}: {problem}",
        f"Please report it; until then, `--ignore {rule.code}` leaves the rule out.",
    )


def _find_leaf(error: Exception, subject: Subject) -> str | None:
    """Finds the leaf that a rule was looking at when it failed: the one that its innermost function had in hand."""
    names = {name for file in subject.files for name in file.infos} or vars(subject).get("specs", {})
    trace = error.__traceback__
    found: str | None = None
    while trace is not None:
        held = [value for value in trace.tb_frame.f_locals.values() if isinstance(value, str) and value in names]
        found = held[-1] if held else found
        trace = trace.tb_next
    return found


def _refuse_damaged(subject: Subject, need: Need) -> None:
    """Refuses to pass over a text that is there, and damaged: no rule could ask it, and nothing is missing."""
    name, document = f"{need}.json", subject.config if need == "config" else subject.tokenizer
    if document is None and subject.unit.format == "safetensors" and subject.safetensors.text(name) is not None:
        hint = "Take it from where the checkpoint came from, or write it anew."
        raise ConfigFileError(f"`{name}` is not a JSON object", hint)


def _find_missing(subject: Subject, rule: Rule, *, data: bool) -> str:
    """Says what a rule lacks; empty if nothing."""
    if "data" in rule.needs and not data:
        return "needs --level data"
    if "data" in rule.needs and subject.reader is None:
        return "needs a checkpoint that can be read"
    for need in rule.needs:
        if need in ("config", "tokenizer"):
            _refuse_damaged(subject, need)
    if "config" in rule.needs and subject.config is None and not subject.declared and not subject.stated:
        return "needs config.json" if subject.unit.format == "safetensors" else "needs declared ties"
    if "tokenizer" in rule.needs and subject.tokenizer is None:
        return "needs tokenizer.json"
    return ""
