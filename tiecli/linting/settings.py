"""Settings: what a project wants of the linter, put together from a file and from options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from tiecli.checkpoints.pathglobs import matches_path
from tiecli.errors import KeyPathSyntaxError, SettingsError
from tiecli.globs import KeyPattern
from tiecli.keypaths import KeyPath
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.report import FailOn
from tiecli.linting.rule import Severity
from tiecli.linting.selection import check_selectors, list_defaults, select_codes

Level = Literal["header", "data"]


@dataclass(frozen=True, slots=True)
class Ignore:
    """Rules that are to be silent in some places.

    Attributes:
        pattern: Which places: a glob of paths, or a pattern of leaves.
        codes: The rules.
    """

    pattern: str
    codes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Choices:
    """What a settings file, or the options of one run, choose; None and empty where they say nothing.

    Attributes:
        select: The rules to run, as selectors; None for the default ones.
        extend_select: Rules to run besides.
        ignore: Rules not to run.
        fail_on: The mildest severity that makes the run fail.
        level: Whether array data is read.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_on: FailOn | None = None
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a settings file says.

    Attributes:
        base: Its directory, absolute; globs of paths are counted from here.
        choices: What options may say as well.
        path_ignores: Rules that are silent on some paths.
        leaf_ignores: Rules that are silent on some leaves.
        severities: Other severities than the rules' own, by code.
        ties: Ties that it declares.
    """

    base: str
    choices: Choices = Choices()
    path_ignores: tuple[Ignore, ...] = ()
    leaf_ignores: tuple[Ignore, ...] = ()
    severities: Mapping[str, Severity] = field(default_factory=dict)
    ties: tuple[DeclaredPair, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run of the linter looks for, and what it makes of it.

    Attributes:
        codes: The rules that run.
        level: Whether array data is read.
        fail_on: The mildest severity that makes the run fail.
        severities: Other severities than the rules' own, by code.
        path_ignores: Rules that are silent on some paths.
        leaf_ignores: Rules that are silent on some leaves.
        ties: Ties that the project declares for its checkpoints.
        base: The directory that globs of paths are counted from.
    """

    codes: frozenset[str]
    level: Level = "header"
    fail_on: FailOn = "warning"
    severities: Mapping[str, Severity] = field(default_factory=dict)
    path_ignores: tuple[Ignore, ...] = ()
    leaf_ignores: tuple[Ignore, ...] = ()
    ties: tuple[DeclaredPair, ...] = ()
    base: str = "/"

    def is_ignored(self, code: str, path: str, leaves: Sequence[str]) -> bool:
        """Whether a finding is not to be reported: by where it is, or by what it concerns.

        All the leaves of a finding have to match; of a pair, one is enough.

        Args:
            code: The rule.
            path: The file or checkpoint it concerns, absolute.
            leaves: The leaves it concerns.
        """
        if any(code in it.codes and matches_path(it.pattern, path, self.base) for it in self.path_ignores):
            return True
        patterns = [it.pattern for it in self.leaf_ignores if code in it.codes]
        if not patterns or not leaves:
            return False
        enough = any if len(leaves) == 2 else all
        return enough(any(_matches_leaf(pattern, leaf) for pattern in patterns) for leaf in leaves)

    def declared_for(self, path: str) -> tuple[DeclaredPair, ...]:
        """Lists the ties declared for a checkpoint, given by its absolute path."""
        return tuple(pair for pair in self.ties if not pair.path or matches_path(pair.path, path, self.base))


def combine(file: FileSettings | None, options: Choices, ties: Sequence[DeclaredPair] = ()) -> Settings:
    """Puts together what a settings file and the options of a run say; options win.

    `select` of the options takes the place of all that the file selects and ignores; their
    `ignore` and `extend_select` change what is selected otherwise.

    Args:
        file: The settings file; None without one.
        options: The options.
        ties: Ties declared besides those of the file.

    Raises:
        SettingsError: An option names a rule that there is not, or no rule is left.
    """
    check_selectors((*(options.select or ()), *options.extend_select), "option `select`")
    check_selectors(options.ignore, "option `ignore`")
    said = file or FileSettings(str(Path.cwd()))
    codes = _resolve(options, _resolve(said.choices, list_defaults()))
    if not codes:
        raise SettingsError(
            "no rule is left to run", "`--select` and `--ignore`, or the settings, leave all of them out."
        )
    return Settings(
        codes,
        options.level or said.choices.level or "header",
        options.fail_on or said.choices.fail_on or "warning",
        said.severities,
        said.path_ignores,
        said.leaf_ignores,
        (*said.ties, *ties),
        said.base,
    )


def _resolve(choices: Choices, before: frozenset[str]) -> frozenset[str]:
    """Applies the selectors of one place to what was selected before."""
    if choices.select is not None:
        return select_codes((*choices.select, *choices.extend_select), choices.ignore)
    added = select_codes(choices.extend_select, choices.ignore)
    return (before - select_codes(choices.ignore, choices.extend_select)) | added


@cache
def _pattern(text: str) -> KeyPattern:
    return KeyPattern(text)


def _matches_leaf(pattern: str, leaf: str) -> bool:
    if leaf == pattern:
        return True
    try:
        return _pattern(pattern).match(KeyPath.from_name(leaf)) is not None
    except KeyPathSyntaxError:
        # The name is longer than any pattern is held against.
        return False
