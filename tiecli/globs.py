"""Globs: one pattern over key paths, as a regular expression that keeps what it captured."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from tiecli.errors import KeyPathSyntaxError
from tiecli.keypaths import Key, KeyPath

LIMIT_NAME = 1_000
"""No pattern is matched against a longer name: several `*` on it could take minutes."""

LIMIT_TEXT = 10_000
"""No pattern is longer."""

LIMIT_OPTIONS = 4_096
"""No `{0..n}` stands for more numbers."""

# No valid name holds a lone surrogate. A dot inside one key, as against the dots between keys:
_INNER_DOT = "\udcff"
# and what stands before an index, so that `[*]` can tell it from a key that is a number.
_INDEX = "\udcfe"
_ONE_KEY = rf"[^.{_INDEX}]"
_JAX_KEY = r"""\['((?:[^'\\]|\\['"\\])*)'\]|\["((?:[^"\\]|\\['"\\])*)"\]|\[(-?\d{1,18})\]|\.(\w+)"""
_RANGE = r"([0-9]{1,9})\.\.([0-9]{1,9})"


@dataclass(frozen=True, slots=True)
class _Capture:
    name: str
    group: int
    options: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """A pattern over the on-disk spelling of key paths.

    `*` stands for any characters within one segment, `**` for none or many whole segments,
    `{q,k}` for either text, `{0..11}` for any of these numbers, `{i}` for a piece of one
    segment that is the same wherever `{i}` stands; a segment in double quotes is taken as it
    is. An index is a segment: `layers[*]` finds indices alone, `layers.*` whatever stands there.
    `re:` in front makes the rest a regular expression for the whole name. The spelling of JAX,
    `['layers'][0]['w']`, names one leaf.

    Attributes:
        text: The pattern as it was typed.

    Raises:
        KeyPathSyntaxError: The text is no pattern; says why.

    Example:
        >>> KeyPattern("layers.{i}.ln_*").match(KeyPath.from_name("layers.3.ln_1"))
        {'i': '3', '*0': '1'}
        >>> KeyPattern("**.{q,k}").match(KeyPath.from_name("a.b.k"))
        {'*0': 'a.b', '{0': '1'}
    """

    text: str
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _captures: tuple[_Capture, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > LIMIT_TEXT:
            raise KeyPathSyntaxError(
                f"a pattern of {len(self.text):,} characters is too long, expected at most {LIMIT_TEXT:,}",
                "Name what varies with `*` or `{i}` in place of listing it.",
            )
        source, captures = _translate(self.text)
        object.__setattr__(self, "_regex", _compile(self.text, source))
        object.__setattr__(self, "_captures", captures)

    @classmethod
    def parse(cls, text: str) -> KeyPattern:
        """Reads a pattern.

        Raises:
            KeyPathSyntaxError: The text is no pattern; says why.
        """
        return cls(text)

    def match(self, path: KeyPath) -> Mapping[str, str] | None:
        """Matches one path, and says what each part stood for.

        Returns:
            None when it does not match; else `{i}` by its name, the first wildcard as `*0`,
            the next as `*1`, and of the first alternation the number of its option as `{0`.

        Raises:
            KeyPathSyntaxError: The name is too long to be matched by a pattern.
        """
        by_expression = self.text.startswith("re:")
        name = path.spelling if by_expression else _matchable(path)
        if len(name) > LIMIT_NAME and (by_expression or self._captures):
            raise KeyPathSyntaxError(
                f"`{name[:40]}…` has {len(name):,} characters, a pattern takes names of at most {LIMIT_NAME:,}",
                "Name each leaf in full, without wildcards.",
            )
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        if by_expression:
            return _expression_captures(found)
        texts = ((capture, (found[capture.group] or "").replace(_INDEX, "")) for capture in self._captures)
        return {
            capture.name: str(capture.options[text]) if capture.options else text.replace(_INNER_DOT, ".")
            for capture, text in texts
        }


def parse_keystr(text: str) -> tuple[Key, ...] | None:
    """Reads the spelling of `jax.tree_util.keystr`; None if it is not in this spelling.

    Example:
        >>> parse_keystr("['layers'][0].w")
        ('layers', 0, 'w')
    """
    keys: list[Key] = []
    position = 0
    # Compiled on first use: most runs never see this spelling, and compiling takes a millisecond.
    one_key = re.compile(_JAX_KEY) if text.startswith(("[", ".")) else None
    while one_key and position < len(text):
        found = one_key.match(text, position)
        if found is None:
            return None
        single, double, index, attribute = found.groups()
        quoted = single if single is not None else double
        keys.append(int(index) if index else attribute or re.sub(r"\\(.)", r"\1", quoted))
        position = found.end()
    return tuple(keys) if keys else None


def _matchable(path: KeyPath) -> str:
    """Spells a path with a dot between segments and nowhere else."""
    keys = path.keys
    try:
        name = ".".join(keys)  # type: ignore[arg-type]  # an int key raises
    except TypeError:
        pass
    else:
        if name.count(".") == len(keys) - 1:
            return name
    return ".".join([f"{_INDEX}{key}" if isinstance(key, int) else key.replace(".", _INNER_DOT) for key in keys])


def _expression_captures(found: re.Match[str]) -> Mapping[str, str]:
    named = set(found.re.groupindex.values())
    captures = {name: text or "" for name, text in found.groupdict().items()}
    unnamed = (text or "" for group, text in enumerate(found.groups(), 1) if group not in named)
    return captures | {f"*{number}": text for number, text in enumerate(unnamed)}


def _compile(text: str, source: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(source, re.DOTALL)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise KeyPathSyntaxError(
            f"`{text:.200}` is no regular expression: {error}", "Source of the syntax: the `re` module of Python."
        ) from error


def _translate(text: str) -> tuple[str, tuple[_Capture, ...]]:
    if text.startswith("re:"):
        return text[3:], ()
    if text.startswith(("['", '["')):
        keys = parse_keystr(text)
        if keys is None:
            raise _syntax_error(text, 0, "keys such as `['layers'][0]['w']`")
        return r"\.".join(f"{_INDEX}?{key}" if isinstance(key, int) else _literal(key) for key in keys), ()
    return _Translation(text).run()


def _literal(key: str) -> str:
    return re.escape(key.replace(".", _INNER_DOT))


def _syntax_error(text: str, position: int, expected: str) -> KeyPathSyntaxError:
    return KeyPathSyntaxError(
        f"`{text:.200}` is no pattern: expected {expected} at position {position}",
        'Put a segment in double quotes to take it as it is: `layers."a*b".w`.',
    )


class _Translation:
    """Turns a pattern into a regular expression, from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.source: list[str] = []
        self.captures: dict[str, _Capture] = {}
        self.groups = 0
        self.brackets: list[int] = []

    def run(self) -> tuple[str, tuple[_Capture, ...]]:
        """Gives the regular expression, and what its groups capture."""
        if not self.text:
            raise _syntax_error(self.text, 0, "a name or a pattern")
        self._segment_start()
        while self.position < len(self.text):
            mark = self.text[self.position]
            if mark == ".":
                self.source.append(r"\.")
                self.position += 1
                self._segment_start()
            elif mark == "*":
                self._wildcard(f"({_ONE_KEY}*)", 1)
            elif mark == "[" and "]" in self.text[self.position :]:
                self._open_bracket()
            elif mark == "]" and self.brackets:
                # Only what opened with a bracket closes with one.
                self.source.append(rf"(?({self.brackets.pop()})\])")
                self.position += 1
            elif mark == "{":
                self._braces()
            elif mark == "}":
                raise _syntax_error(self.text, self.position, "a `{` before this `}`")
            else:
                self.source.append(re.escape(mark))
                self.position += 1
        return "".join(self.source), tuple(self.captures.values())

    def _segment_start(self) -> None:
        """Takes what can only stand at the start of a segment: `**` and quotes."""
        rest = self.text[self.position : self.position + 3]
        if rest in ("**.", "**["):
            self._wildcard(r"(?:(.*)\.)?", 3 if rest == "**." else 2)
            if self.text.startswith("**", self.position):
                raise _syntax_error(self.text, self.position, "something other than `**` after `**.`")
            self._segment_start()
        elif rest == "**":
            if self.source and self.source[-1] == r"\.":
                self.source[-1] = ""
                self._wildcard(r"(?:\.(.*))?", 2)
            else:
                self._wildcard(r"(.*)", 2)
        elif rest[:1] == '"':
            try:
                key, self.position = json.JSONDecoder().raw_decode(self.text, self.position)
            except ValueError:
                raise _syntax_error(self.text, self.position, "a closing quote") from None
            self.source.append(_literal(key))
            if self.text[self.position : self.position + 1] not in ("", ".", "["):
                raise _syntax_error(self.text, self.position, "a `.` after the closing quote")
        else:
            self.source.append(f"{_INDEX}?")

    def _open_bracket(self) -> None:
        """Opens an index, or (names may hold anything) a bracket of a key."""
        self.groups += 1
        self.brackets.append(self.groups)
        self.source.append(rf"(?:\.?{_INDEX}|(\[))")
        self.position += 1

    def _wildcard(self, source: str, width: int) -> None:
        if width == 1 and self.text.startswith("**", self.position):
            raise _syntax_error(self.text, self.position, "`**` to be a whole segment")
        self._capture(f"*{sum(name.startswith('*') for name in self.captures)}", source)
        self.position += width

    def _capture(self, name: str, source: str, options: Mapping[str, int] | None = None) -> None:
        self.groups += 1
        self.captures[name] = _Capture(name, self.groups, options or {})
        self.source.append(source)

    def _braces(self) -> None:
        end = self.text.find("}", self.position)
        if end < 0:
            raise _syntax_error(self.text, self.position, "a closing `}`")
        inside = self.text[self.position + 1 : end]
        if inside.isidentifier():
            if inside in self.captures:
                self.source.append(rf"(?:\{self.captures[inside].group})")
            else:
                self._capture(inside, f"({_ONE_KEY}+)")
        else:
            options = self._options(inside)
            number = sum(name.startswith("{") for name in self.captures)
            either = "|".join(re.escape(option).replace(r"\.", rf"\.{_INDEX}?") for option in options)
            self._capture(f"{{{number}", f"({either})", options)
        self.position = end + 1

    def _options(self, inside: str) -> Mapping[str, int]:
        if found := re.fullmatch(_RANGE, inside):
            low, high = found.groups()
            width = len(low) if low.startswith("0") else 0
            numbers = range(int(low), int(high) + 1)
            if 0 < len(numbers) <= LIMIT_OPTIONS:
                return {str(number).zfill(width): index for index, number in enumerate(numbers)}
            expected = f"a range such as `{{0..11}}`, of at most {LIMIT_OPTIONS:,} numbers"
            raise _syntax_error(self.text, self.position, expected)
        options = inside.split(",")
        if len(options) < 2 or any(mark in inside for mark in '{*"'):
            raise _syntax_error(self.text, self.position, "`{i}`, `{q,k}` or `{0..11}`")
        if len(set(options)) < len(options):
            raise _syntax_error(self.text, self.position, "options that differ")
        return {option: index for index, option in enumerate(options)}
