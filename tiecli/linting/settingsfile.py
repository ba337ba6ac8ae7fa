"""Settings files: `[tool.tiecli]` of a `pyproject.toml`, or the same in a `tiecli.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tiecli.checkpoints.storedfile import read_text_file
from tiecli.errors import KeyPathSyntaxError, SettingsError, TiecliError
from tiecli.globs import KeyPattern
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.report import FailOn
from tiecli.linting.rule import SEVERITIES, Severity
from tiecli.linting.selection import check_selectors, expand_selector, select_codes, suggest, weigh_selectors
from tiecli.linting.settings import Choices, FileSettings, Ignore, Level

T = TypeVar("T", bound=str)

PROJECT, OWN = "pyproject.toml", "tiecli.toml"
NAMES = (OWN, PROJECT)
"""What settings files are called, the one that wins first."""

_ROOT = ("lint", "ties")
_KEYS = (
    *("select", "extend-select", "ignore", "per-path-ignores", "per-leaf-ignores"),
    *("severity", "fail-on", "level"),
)
_FAILS: tuple[FailOn, ...] = (*SEVERITIES, "never")
_LEVELS: tuple[Level, ...] = ("header", "data")
_TIE_KEYS = ("src", "dst", "transform", "path")


def find_settings(directory: Path) -> FileSettings | None:
    """Reads the nearest settings file: in a directory, or in one that it lies in.

    Returns:
        None if there is none that says anything to tiecli.

    Raises:
        SettingsError: It holds something unknown, or is no TOML.
        UnreadableFileError: The system refuses to read it.
    """
    for place in (directory.absolute(), *directory.absolute().parents):
        for name in NAMES:
            path = place / name
            raw = read_text_file(path, str(path))
            # Most projects have nothing to say to tiecli, and parsing takes its time.
            if raw is not None and (name == OWN or b"tiecli" in raw):
                found = parse_settings(raw, name if place == directory.absolute() else str(path), str(place))
                if found is not None:
                    return found
    return None


def load_settings(path: Path) -> FileSettings:
    """Reads a settings file that was named.

    Raises:
        SettingsError: It is not there, is no TOML, or holds something unknown.
        UnreadableFileError: The system refuses to read it.
    """
    raw = read_text_file(path, str(path))
    if raw is None:
        raise SettingsError(f"`{path}` is not there", f"Settings stand in `{OWN}` or `{PROJECT}`.")
    found = parse_settings(raw, str(path), str(path.absolute().parent))
    return found or FileSettings(str(path.absolute().parent))


def parse_settings(raw: bytes, name: str, base: str) -> FileSettings | None:
    """Reads a settings file.

    Args:
        raw: Its bytes.
        name: How messages call it.
        base: Its directory, absolute.

    Returns:
        None for a `pyproject.toml` without `[tool.tiecli]`.

    Raises:
        SettingsError: It is no TOML, or holds an unknown rule, key or value; says which, with the nearest name.
    """
    import tomllib

    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"`{name}` is no TOML: {str(error)[:200]}", "See toml.io for the syntax.") from error
    table: Any = document
    prefix = ""
    if name.endswith(PROJECT):
        for key in ("tool", "tiecli"):
            table = table.get(key) if isinstance(table, dict) else None
        if table is None:
            return None
        prefix = "tool.tiecli."
    return _Reading(name, prefix, base).read(table)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One settings file, being read."""

    name: str
    prefix: str
    base: str

    def read(self, document: object) -> FileSettings:
        """Gives what the file says."""
        root = self._table(document, "", _ROOT)
        table = self._table(root.get("lint", {}), "lint", _KEYS)
        select = self._selectors(table, "select") if "select" in table else None
        choices = Choices(
            select,
            self._selectors(table, "extend-select"),
            self._selectors(table, "ignore"),
            self._choice(table, "fail-on", _FAILS),
            self._choice(table, "level", _LEVELS),
        )
        return FileSettings(
            self.base,
            choices,
            self._ignores(table, "per-path-ignores"),
            self._ignores(table, "per-leaf-ignores"),
            self._severities(table),
            self._ties(root.get("ties", [])),
        )

    def _error(self, key: str, problem: str, *hints: str) -> SettingsError:
        return SettingsError(f"`{self.name}`: `{(self.prefix + key).rstrip('.')}` {problem}", *hints)

    def _wrong_type(self, key: str, value: object, expected: str) -> SettingsError:
        return self._error(key, f"is {_name_type(value)}, expected {expected}")

    def _table(self, value: object, key: str, known: Sequence[str]) -> Mapping[str, Any]:
        """Takes a table, all of whose keys have to be known ones."""
        if not isinstance(value, dict):
            raise self._wrong_type(key, value, "a table")
        for member in value:
            if member not in known:
                place = f"{key}.{member}" if key else member
                hint = suggest(member, known) or f"Known keys: {', '.join(known)}."
                raise self._error(place, "is no setting of tiecli", hint)
        return value

    def _selectors(self, table: Mapping[str, Any], key: str, inside: str = "") -> tuple[str, ...]:
        place = f"lint.{inside}{key}"
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(it, str) for it in value):
            raise self._wrong_type(place, value, "a list of codes, prefixes or names of rules")
        check_selectors(value, f"`{self.name}`: `{self.prefix}{place}`")
        return tuple(value)

    def _choice(self, table: Mapping[str, Any], key: str, known: Sequence[T]) -> T | None:
        value = table.get(key)
        if value is not None and value not in known:
            listed = ", ".join(f"`{it}`" for it in known)
            shown = f"`{value[:100]}`" if isinstance(value, str) else _name_type(value)
            raise self._error(f"lint.{key}", f"is {shown}, expected one of {listed}", *_near(value, known))
        return known[known.index(value)] if value is not None else None

    def _ignores(self, table: Mapping[str, Any], key: str) -> tuple[Ignore, ...]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong_type(f"lint.{key}", value, "a table of patterns and the rules to ignore there")
        if key == "per-leaf-ignores":
            for pattern in value:
                self._check_pattern(pattern, f"lint.{key}")
        return tuple(Ignore(pattern, select_codes(self._selectors(value, pattern, f"{key}."), ())) for pattern in value)

    def _severities(self, table: Mapping[str, Any]) -> Mapping[str, Severity]:
        value = table.get("severity", {})
        if not isinstance(value, dict):
            raise self._wrong_type("lint.severity", value, "a table of rules and severities")
        check_selectors(value, f"`{self.name}`: `{self.prefix}lint.severity`")
        chosen: dict[str, Severity] = {}
        # The more specific selector wins.
        for selector in sorted(value, key=lambda it: expand_selector(it)[1]):
            key = f"severity.{selector}"
            severity = self._choice({key: value[selector]}, key, SEVERITIES)
            if severity is not None:
                chosen |= dict.fromkeys(weigh_selectors([selector]), severity)
        return chosen

    def _ties(self, value: object) -> tuple[DeclaredPair, ...]:
        if not isinstance(value, list):
            raise self._wrong_type("ties", value, "an array of tables: [[ties]]")
        pairs = []
        for number, tie in enumerate(value, 1):
            place = f"ties[{number}]"
            members = self._table(tie, place, _TIE_KEYS)
            for key in members:
                if not isinstance(members[key], str):
                    raise self._wrong_type(f"{place}.{key}", members[key], "a string")
            for key in ("src", "dst"):
                if not members.get(key):
                    raise self._error(f"{place}.{key}", "is missing", "A tie has `src`, the leaf to keep, and `dst`.")
            pairs.append(DeclaredPair(**members))
            self._check_tie(pairs[-1], place)
        return tuple(pairs)

    def _check_tie(self, pair: DeclaredPair, place: str) -> None:
        from tiecli.transforms import Transform

        try:
            Transform.parse(pair.transform)
        except TiecliError as error:
            raise self._error(f"{place}.transform", f"cannot be read: {error.message}", *error.hints) from error
        self._check_pattern(pair.dst, f"{place}.dst")

    def _check_pattern(self, pattern: str, place: str) -> None:
        try:
            KeyPattern(pattern)
        except KeyPathSyntaxError as error:
            raise self._error(place, f"cannot be read: {error.message}", *error.hints) from error


def _name_type(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    names = {"str": "a string", "int": "a number", "float": "a number", "bool": "a truth value", "list": "a list"}
    return names.get(type(value).__name__, "a date or time")


def _near(value: object, known: Sequence[str]) -> tuple[str, ...]:
    near = suggest(value, known) if isinstance(value, str) else ""
    return (near,) if near else ()
