"""Baselines: findings that are known already, so that a run reports only what is new."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiecli.errors import SettingsError
from tiecli.linting.report import ReportedFinding

SCHEMA = "tiecli.lint-baseline/1"
_AGAIN = "Write it anew with `tiecli lint --write-baseline`."


@dataclass(frozen=True, slots=True)
class Entry:
    """One known finding.

    Attributes:
        code: The rule.
        checkpoint: Whose, as a path relative to the baseline's directory.
        fingerprint: The finding's.
    """

    code: str
    checkpoint: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known findings; one that was found twice is listed twice.

    Attributes:
        entries: The findings.
        base: The directory that paths are relative to, absolute.
    """

    entries: tuple[Entry, ...]
    base: str


@dataclass(frozen=True, slots=True)
class Sifted:
    """Findings sifted by a baseline.

    Attributes:
        fresh: Those that it does not know.
        known: Those that it holds back.
        stale: How many of its entries could have been found and were not.
    """

    fresh: tuple[ReportedFinding, ...]
    known: tuple[ReportedFinding, ...] = ()
    stale: int = 0


def parse_baseline(raw: bytes, name: str, base: str) -> Baseline:
    """Reads a baseline.

    Args:
        raw: The file.
        name: How messages call it.
        base: Its directory, absolute.

    Raises:
        SettingsError: It is damaged, or no baseline.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"`{name}` is no baseline: it is not JSON", _AGAIN) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise SettingsError(f"`{name}` is no baseline of this version: its `schema` is not `{SCHEMA}`", _AGAIN)
    entries = document.get("findings")
    if not isinstance(entries, list):
        raise SettingsError(f"`{name}` is damaged: it has no list of `findings`", _AGAIN)
    return Baseline(tuple(_parse_entry(entry, name, n) for n, entry in enumerate(entries, 1)), base)


def baseline_to_json(findings: Iterable[ReportedFinding], base: str) -> dict[str, object]:
    """Gives findings as a baseline: what tells each, and its message for whoever reads the file.

    Args:
        findings: What was found.
        base: The directory of the file, absolute.
    """
    rows = sorted((relate(it.checkpoint, base), it.code, it.fingerprint, it.message) for it in findings)
    keys = ("checkpoint", "code", "fingerprint", "message")
    return {"schema": SCHEMA, "findings": [dict(zip(keys, row, strict=True)) for row in rows]}


def sift(
    findings: Iterable[ReportedFinding],
    baseline: Baseline | None,
    checkpoints: Collection[str],
    ran: Callable[[str, str], bool],
) -> Sifted:
    """Holds back the findings that a baseline knows.

    An entry holds back one finding of its own checkpoint; or, where that is not there any
    more, one of another checkpoint, which may be the same that was moved. An entry that holds
    nothing back is stale if its rule ran on its checkpoint, or if its checkpoint is gone.

    Args:
        findings: What was found.
        baseline: What is known; None for nothing.
        checkpoints: The checkpoints that were linted.
        ran: Whether a rule ran on one of them: called with the checkpoint and the code.
    """
    if baseline is None:
        return Sifted(tuple(findings))
    left = Counter(baseline.entries)
    linted = {relate(checkpoint, baseline.base): checkpoint for checkpoint in checkpoints}
    known: list[ReportedFinding] = []
    unknown: list[ReportedFinding] = []
    for finding in findings:
        entry = Entry(finding.code, relate(finding.checkpoint, baseline.base), finding.fingerprint)
        if left[entry]:
            left[entry] -= 1
            known.append(finding)
        else:
            unknown.append(finding)
    homeless = _list_homeless(+left, linted, baseline.base)
    fresh: list[ReportedFinding] = []
    for finding in unknown:
        fitting = homeless.get((finding.code, finding.fingerprint))
        if fitting:
            left[fitting.pop()] -= 1
            known.append(finding)
        else:
            fresh.append(finding)
    stale = sum(map(len, homeless.values()))
    stale += sum(
        count
        for entry, count in (+left).items()
        if entry.checkpoint in linted and ran(linted[entry.checkpoint], entry.code)
    )
    return Sifted(tuple(fresh), tuple(known), stale)


def relate(path: str, base: str) -> str:
    """Spells a path as a baseline holds it: relative to its directory, with slashes."""
    return Path(os.path.relpath(path, base)).as_posix()


def _list_homeless(left: Mapping[Entry, int], linted: Collection[str], base: str) -> dict[tuple[str, str], list[Entry]]:
    """Lists the entries whose checkpoint is not where it was, by what tells the finding."""
    gone: dict[str, bool] = {}
    homeless: dict[tuple[str, str], list[Entry]] = {}
    for entry, count in left.items():
        where = entry.checkpoint
        if where not in gone:
            gone[where] = where not in linted and not Path(base, where).exists()
        if gone[where]:
            homeless.setdefault((entry.code, entry.fingerprint), []).extend([entry] * count)
    return homeless


def _parse_entry(entry: Any, name: str, number: int) -> Entry:
    texts = [entry.get(key) for key in ("code", "checkpoint", "fingerprint")] if isinstance(entry, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise SettingsError(
            f"`{name}` is damaged: finding {number} lacks a `code`, `checkpoint` or `fingerprint`", _AGAIN
        )
    return Entry(*texts)
