"""Linting: what would break a consumer of some checkpoints, or silently mis-train it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tiecli.checkpoints.protocol import Tracker, track_nothing
from tiecli.checkpoints.storedfile import read_text_file
from tiecli.checkpoints.survey.safetensors import list_names
from tiecli.checkpoints.survey.units import Unit, list_units
from tiecli.checkpoints.survey.walking import find_all
from tiecli.errors import SettingsError, TiecliError
from tiecli.linting.baseline import Baseline, Sifted, parse_baseline, sift
from tiecli.linting.checking import Checked, check_unit, make_absolute, spell_path
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.report import AppliedFix, FailOn, LintFailure, LintReport, Unchecked, sort_findings
from tiecli.linting.rule import Finding
from tiecli.linting.settings import Choices, FileSettings, Level, Settings, combine
from tiecli.linting.settingsfile import load_settings
from tiecli.linting.workers import check_units

Fixing = Literal["none", "safe", "unsafe"]


@dataclass(frozen=True, slots=True)
class LintOptions:
    """What is looked for, and what becomes of it; a settings file says what is left out here.

    Attributes:
        select: The rules to run, as codes, beginnings of codes, names or `ALL`; None for the default ones.
        extend_select: Rules to run besides.
        ignore: Rules not to run.
        fail_on: The mildest severity that makes the report one of failure.
        level: `header` reads headers, indexes and metadata; `data` every byte.
        settings: A settings file, read already or by its path; None for none.
        ties: Ties declared besides those of the settings file.
        baseline: A file of findings that are known.
        fix: Which fixes are carried out: `unsafe` ones choose between two meanings.
        dry: Only say which fixes would be.
        jobs: How many processes may work at once.
        skip_others: Pass over files that are part of no checkpoint.
        shard: Which part of the checkpoints is looked at, of how many: `(1, 4)` is every fourth, from the first on.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn | None = None
    level: Level | None = None
    settings: FileSettings | Path | None = None
    ties: tuple[DeclaredPair, ...] = ()
    baseline: Path | None = None
    fix: Fixing = "none"
    dry: bool = False
    jobs: int = 1
    skip_others: bool = False
    shard: tuple[int, int] = (1, 1)


def lint(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    options: LintOptions = LintOptions(),
    *,
    track: Tracker = track_nothing,
    count: Tracker = track_nothing,
) -> LintReport:
    """Lints checkpoints: every one that the paths stand for, each once.

    What cannot be linted is part of the report; only options that cannot be meant are refused.

    Args:
        paths: Files of checkpoints, directories that hold some, or globs; or only one of these.
        options: What to look for.
        track: Shows the progress of reading array data.
        count: Shows the progress in checkpoints.

    Raises:
        SettingsError: Settings or the baseline cannot be read, or name something unknown.
        UnreadableFileError: The system refuses to read one of them.
    """
    if isinstance(paths, str | os.PathLike):
        paths = (paths,)
    settings = _settle(options)
    baseline = None if options.baseline is None else _read_baseline(options.baseline)
    found = find_all([os.fspath(path) for path in paths], strict=not options.skip_others)
    number, parts = options.shard
    units = found.units[number - 1 :: parts]
    checked = check_units(units, settings, options.jobs, track=track, count=count)
    sifted = _sift(checked, baseline, settings)
    failures = [LintFailure(it.path, "", it.error.message, " ".join(it.error.hints)) for it in found.problems]
    fixes: list[AppliedFix] = []
    notices = _list_unmatched(checked, settings)
    if options.fix != "none" and sifted.fresh:
        mending = _Mending(settings, options, sifted)
        checked = mending.mend_all(units, checked)
        fixes = mending.fixes
        notices += mending.notices
        failures += mending.failures
        sifted = _sift(checked, baseline, settings)
    return LintReport(
        tuple(it.checkpoint for it in checked),
        sort_findings(sifted.fresh),
        _group_unchecked(checked),
        (*failures, *(failure for it in checked for failure in it.failures)),
        tuple(fixes),
        dry=options.dry,
        suppressed=len(sifted.known),
        stale=sifted.stale,
        fail_on=settings.fail_on,
        notices=tuple(notices),
    )


def _settle(options: LintOptions) -> Settings:
    number, parts = options.shard
    if not 1 <= number <= parts:
        raise SettingsError(f"there is no part {number} of {parts}", "Parts are counted from 1: `--shard 1/4`.")
    file = load_settings(options.settings) if isinstance(options.settings, Path) else options.settings
    choices = Choices(options.select, options.extend_select, options.ignore, options.fail_on, options.level)
    return combine(file, choices, options.ties)


def _list_unmatched(checked: Sequence[Checked], settings: Settings) -> list[str]:
    """Words the declared ties that no checkpoint has a leaf of: a misspelled one would pass as held."""
    matched: dict[DeclaredPair, list[bool]] = {}
    for it in checked if settings.ties else ():
        for pair in settings.declared_for(make_absolute(Path(it.checkpoint))):
            matched.setdefault(pair, []).append(pair not in it.unmatched)
    return [
        f"the declared tie `{pair}` matches no leaf of "
        + ("the checkpoint" if len(looked) == 1 else f"any of {len(looked):,} checkpoints")
        for pair, looked in matched.items()
        if not any(looked)
    ]


def _read_baseline(path: Path) -> Baseline:
    raw = read_text_file(path, str(path))
    if raw is None:
        raise SettingsError(f"the baseline `{path}` is not there", "`--write-baseline` writes one.")
    return parse_baseline(raw, str(path), str(path.absolute().parent))


def _sift(checked: Sequence[Checked], baseline: Baseline | None, settings: Settings) -> Sifted:
    """Holds back known findings, and those that several checkpoints of one directory share."""
    seen: set[tuple[str, str, str, str]] = set()
    findings = []
    for it in checked:
        for finding in it.findings:
            # What is the matter with a config is so for every checkpoint beside it.
            key = (finding.path, finding.code, finding.fingerprint, finding.message)
            if key not in seen or finding.path == finding.checkpoint:
                seen.add(key)
                findings.append(finding)
    idle = {(it.checkpoint, skipped.code) for it in checked for skipped in it.not_checked}
    idle |= {(it.checkpoint, failed.code) for it in checked for failed in it.failures}

    def ran(checkpoint: str, code: str) -> bool:
        """Whether a rule ran on a checkpoint."""
        return code in settings.codes and (checkpoint, code) not in idle and (checkpoint, "") not in idle

    return sift(findings, baseline, [it.checkpoint for it in checked], ran)


def _group_unchecked(checked: Iterable[Checked]) -> tuple[Unchecked, ...]:
    """Groups what did not run by rule and by what it lacked."""
    groups: dict[tuple[str, str], list[str]] = {}
    for it in checked:
        for skipped in it.not_checked:
            groups.setdefault((skipped.code, skipped.reason), []).append(it.checkpoint)
    return tuple(Unchecked(code, reason, tuple(where)) for (code, reason), where in sorted(groups.items()))


class _Mending:
    """The fixes of one run: of what is not known already, checkpoint by checkpoint."""

    def __init__(self, settings: Settings, options: LintOptions, sifted: Sifted) -> None:
        self.fixes: list[AppliedFix] = []
        self.notices: list[str] = []
        self.failures: list[LintFailure] = []
        self._settings = settings
        self._dry = options.dry
        self._unsafe = options.fix == "unsafe"
        self._known = {(it.checkpoint, it.code, it.fingerprint) for it in sifted.known}
        self._touched: set[Path] = set()

    def mend_all(self, units: Sequence[Unit], checked: Sequence[Checked]) -> list[Checked]:
        """Carries out the fixes of checkpoints, or says what they would be; gives what is found afterwards."""
        together = Counter(unit.directory for unit in units)
        after = [self._mend(unit, before) for unit, before in zip(units, checked, strict=True)]
        # A fix of one checkpoint may have changed the config of all that are beside it.
        return [
            self._check(unit) if unit.directory in self._touched and together[unit.directory] > 1 else it
            for unit, it in after
        ]

    def _mend(self, unit: Unit, checked: Checked) -> tuple[Unit, Checked]:
        """Gives a checkpoint as it is called afterwards, and what is found in it."""
        from tiecli.verbs.fixing import ROUNDS, choose_fixes, mend_all, plan_fixes

        if unit.directory in self._touched:
            checked = self._check(unit)
        fixable = self._list_fixable(checked)
        if not fixable:
            return unit, checked
        if self._dry:
            try:
                self._take(plan_fixes(unit, choose_fixes(fixable, unsafe=self._unsafe)))
            except TiecliError as error:
                self._note(checked, error)
            return unit, checked
        looks: list[Checked] = []

        def look(unit: Unit) -> list[tuple[str, Finding]]:
            """Lists what could be mended; what was found at first is not looked for again."""
            looks.append(self._check(unit) if looks else checked)
            return self._list_fixable(looks[-1])

        mended = mend_all(look, unit, unsafe=self._unsafe)
        self._touched.add(unit.directory)
        self._take(mended.applied)
        self.notices += [*mended.notices, *(f"not fixed: {checked.checkpoint}: {told}" for told in mended.refused)]
        if mended.failure is not None:
            self._note(checked, mended.failure)
        # The last round changed nothing, unless it failed or was one too few.
        settled = mended.failure is None and len(looks) < ROUNDS
        return mended.unit, looks[-1] if settled else self._check(mended.unit)

    def _note(self, checked: Checked, error: TiecliError) -> None:
        told, hint = f"not fixed: {error.message}", " ".join(error.hints)
        self.failures.append(LintFailure(checked.checkpoint, "", told, hint))

    def _take(self, fixes: Iterable[AppliedFix]) -> None:
        self.fixes += [replace(fix, checkpoint=spell_path(Path(fix.checkpoint))) for fix in fixes]

    def _check(self, unit: Unit) -> Checked:
        return check_unit(_refresh(unit), self._settings)

    def _list_fixable(self, checked: Checked) -> list[tuple[str, Finding]]:
        """Lists findings that may be mended and that the baseline does not hold back."""
        return [
            (it.code, Finding(it.message, it.leaves, fix=it.fix))
            for it in checked.findings
            if it.fix is not None
            and (it.fix.safe or self._unsafe)
            and (it.checkpoint, it.code, it.fingerprint) not in self._known
        ]


def _refresh(unit: Unit) -> Unit:
    """Gives a checkpoint with the files that it has now: a fix may have given it an index."""
    if unit.format == "orbax":
        return unit
    now = list_units(unit.directory, list_names(unit.directory))
    return next((it for it in now if it.root == unit.root), unit)
