"""Patterns: how a person names one leaf or many, and which follows from which."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from tiecli.errors import KeyPathSyntaxError, LeafNotFoundError, PairingError
from tiecli.globs import KeyPattern, parse_keystr
from tiecli.keypaths import Key, KeyPath

__all__ = ["KeyPattern", "Pair", "pair_leaves", "select_leaves"]

Pair = tuple[tuple[KeyPath, ...], KeyPath]
"""The sources of one destination, and the destination."""

LISTED = 10
"""An error lists so many leaves of each side, and counts the rest."""

_Match = tuple[KeyPath, Mapping[str, str]]
# The capture under which a subtree keeps what stands below it; no pattern can spell this name.
_BELOW = "/"

_HINT = "Name what varies alike on both sides, such as `--src 'layers.{i}.q' --dst 'layers.{i}.k'`."


def select_leaves(text: str, paths: Iterable[KeyPath]) -> tuple[KeyPath, ...]:
    """Selects leaves by name, by pattern, or by the name of a subtree they stand in.

    A name that some leaf carries as it is typed is never read as a pattern.

    Raises:
        KeyPathSyntaxError: The text is no name of a leaf and no pattern.
        LeafNotFoundError: Nothing matches; the hint has near names.

    Example:
        >>> [str(path) for path in select_leaves("h.*.b", map(KeyPath.from_name, ("h.0.b", "h.0.w", "h.1.b")))]
        ['h.0.b', 'h.1.b']
    """
    paths = tuple(paths)
    found = tuple(path for path, _ in _match_leaves(text, paths))
    if not found:
        raise _not_found(text, paths)
    return found


def pair_leaves(
    src: str, dst: str, paths: Collection[KeyPath], others: Collection[KeyPath] | None = None
) -> tuple[Pair, ...]:
    """Pairs each destination with the leaf, or leaves, that it follows from.

    Captures of the same name must agree; the first wildcard of one side must agree with the
    first of the other, and so on; the first alternation likewise, option by option. What only
    the destination captures is free, so that one source can serve many destinations; a source
    is never its own destination. The name of a subtree stands for its leaves, all or none.
    `(p, q)` as source gives every destination one leaf of each.

    Args:
        src: What destinations follow from.
        dst: What follows.
        paths: The leaves that both sides name.
        others: The leaves that `src` names, where those are of another checkpoint; a leaf of
            one is then never a leaf of the other.

    Returns:
        Sources and destination of each pair, in the order in which `paths` has the destinations.

    Raises:
        KeyPathSyntaxError: One side is no name of a leaf and no pattern.
        LeafNotFoundError: One side matches nothing.
        PairingError: A leaf would be left over, tied to itself, or tied to two sources.

    Example:
        >>> leaves = tuple(map(KeyPath.from_name, ("wte", "lm_head", "h.0.wte")))
        >>> for sources, alias in pair_leaves("wte", "{lm_head,h.0.wte}", leaves):
        ...     print(*sources, "->", alias)
        wte -> lm_head
        wte -> h.0.wte
    """
    paths = tuple(paths)
    given = paths if others is None else tuple(others)
    targets = _match_side(dst, "dst", paths)
    parts = _split_sources(src, given)
    sides = tuple(_match_side(part, "src", given) for part in parts)
    columns = tuple(_join(part, side, dst, targets) for part, side in zip(parts, sides, strict=True))
    rows = tuple(zip(zip(*columns, strict=True), (alias for alias, _ in targets), strict=True))
    paired = tuple((sources, alias) for sources, alias in rows if others is not None or alias not in sources)
    if not paired:
        raise PairingError(
            f"`{src}` and `{dst}` name the same leaves, and a leaf cannot be tied to itself",
            "Name the leaf to keep with --src, and the leaf that follows from it with --dst.",
        )
    used = {source for sources, _ in paired for source in sources}
    unused = tuple(path for side in sides for path, _ in side if path not in used)
    unpaired = tuple(alias for sources, alias in paired if None in sources)
    if unused or unpaired:
        raise PairingError(
            f"`{src}` ({_count(sum(map(len, sides)))}) and `{dst}` ({_count(len(targets))}) do not pair up: "
            f"sources without a destination: {_listed(unused)}; destinations without a source: {_listed(unpaired)}",
            _HINT,
        )
    return tuple((tuple(source for source in sources if source is not None), alias) for sources, alias in paired)


def _match_leaves(text: str, paths: tuple[KeyPath, ...]) -> tuple[_Match, ...]:
    """Finds what a name or pattern stands for, and what its parts stood for; `()` for nothing.

    Tried in this order: the name of a leaf, the name of a subtree, the same with every key
    spelled as text, a pattern for leaves, a pattern for subtrees. A leaf of a subtree has its
    place below it as the capture `_BELOW`.

    Raises:
        KeyPathSyntaxError: The text is no name of a leaf and no pattern.
    """
    readings = _readings(text)
    leaves = {path.keys: path for path in paths if path.keys in readings}
    for keys in readings:
        if keys in leaves:
            return ((leaves[keys], {}),)
    for keys in readings:
        depth = len(keys)
        if subtree := [path for path in paths if path.keys[:depth] == keys]:
            return tuple((path, {_BELOW: _dotted(path.keys[depth:])}) for path in subtree)
    names = {text, *(_dotted(keys) for keys in readings if _has_index(keys))}
    if not {"*", "{"} & set(text) and (named := _match_dotted(names, paths)):
        return named
    pattern = KeyPattern(text)
    rows = tuple((path, found) for path in paths if (found := pattern.match(path)) is not None)
    if rows or text.startswith(("re:", "['", '["')) or text.endswith("**"):
        return rows
    below = KeyPattern(f"{text}.**")
    found_below = ((path, below.match(path)) for path in paths)
    return tuple((path, _name_below(found)) for path, found in found_below if found is not None)


def _match_dotted(names: Collection[str], paths: tuple[KeyPath, ...]) -> tuple[_Match, ...]:
    """Finds the leaves, or the subtrees, that go by one of these names once indices and odd keys are spelled plainly.

    Formats with typed keys store leaves under such names, so that no two leaves share one.
    """
    wholes = [(path, _dotted(path.keys)) for path in paths]
    leaves: tuple[_Match, ...] = tuple((path, {}) for path, whole in wholes if whole in names)
    return leaves or tuple(
        (path, {_BELOW: whole[len(name) + 1 :]})
        for path, whole in wholes
        for name in names
        if whole.startswith(f"{name}.")
        and any(_dotted(path.keys[:depth]) == name for depth in range(1, len(path.keys)))
    )


def _dotted(keys: tuple[Key, ...]) -> str:
    return ".".join(map(str, keys))


def _has_index(keys: tuple[Key, ...]) -> bool:
    return any(isinstance(key, int) for key in keys)


def _name_below(captures: Mapping[str, str]) -> Mapping[str, str]:
    """Moves the last capture, which is what stands below the subtree, to its own name."""
    named = dict(captures)
    _, below = named.popitem()
    return {**named, _BELOW: below}


def _not_found(text: str, paths: tuple[KeyPath, ...], side: str = "") -> LeafNotFoundError:
    """Builds the error for a name that matches nothing, with near names as its hint."""
    near = _near_names(text[:200], paths)
    named = " or ".join(f"`{name}`" for name in near)
    hint = f"Did you mean {named}?" if near else "Run `tiecli inspect` to see the names of all leaves."
    of_side = f" ({side})" if side else ""
    return LeafNotFoundError(f"`{text:.200}`{of_side} matches none of the {_count(len(paths))}", hint)


def _near_names(text: str, paths: tuple[KeyPath, ...]) -> list[str]:
    """Finds up to three names like this one; only runs when a request has failed already."""
    import difflib
    import heapq

    names = dict.fromkeys(path.spelling[:200] for path in paths)
    names |= dict.fromkeys(name.rpartition(".")[0] for name in tuple(names))
    names.pop("", None)
    inside = sorted((name for name in names if f".{text}." in f".{name}."), key=len)
    # difflib takes 20 µs a name and more; only names with many letter pairs in common go there.
    pairs = set(map("".join, pairwise(text)))
    shared = {name: sum(pair in name for pair in pairs) - abs(len(name) - len(text)) / 4 for name in names}
    likely = heapq.nlargest(200, names, key=shared.__getitem__)
    return list(dict.fromkeys(inside + difflib.get_close_matches(text, likely)))[:3]


def _readings(text: str) -> tuple[tuple[Key, ...], ...]:
    """Gives every way to read a text as the plain name of one place, the likeliest first."""
    readings = [KeyPath.from_name(text).keys]
    with contextlib.suppress(KeyPathSyntaxError):
        exact = KeyPath.parse(text)
        # What people are shown wins over what they could type as well: `"a"` may be a name with quotes.
        readings.insert(0 if exact.spelling == text else 1, exact.keys)
    if (keys := parse_keystr(text)) is not None:
        # A list of JAX is often saved as numbered names: `[0]` becomes `.0.`
        readings += [keys, tuple(map(str, keys))]
    return tuple(readings)


def _split_sources(text: str, paths: Iterable[KeyPath] = ()) -> tuple[str, ...]:
    """Splits `(p, q, r)` at its outer commas; any other text is one source.

    Args:
        text: What stands after `--src`.
        paths: Leaves; a text that one of them carries as its name is not split.

    Raises:
        KeyPathSyntaxError: A source between two commas is empty.

    Example:
        >>> _split_sources('(q, {k,v}.w, "a,b")')
        ('q', '{k,v}.w', '"a,b"')
    """
    if not (text.startswith("(") and text.endswith(")")) or any(path.spelling == text for path in paths):
        return (text,)
    parts = [""]
    closing = ""
    escaped = False
    for mark in text[1:-1]:
        if mark == "," and not closing:
            parts.append("")
            continue
        opens = parts[-1][-1:] in ("", " ", ".", "[")
        parts[-1] += mark
        if escaped or mark == "\\":
            escaped = not escaped
        elif mark == closing:
            closing = ""
        elif not closing and (mark == "{" or (mark in "'\"" and opens)):
            closing = "}" if mark == "{" else mark
    sources = tuple(part.strip() for part in parts)
    if not all(sources):
        raise KeyPathSyntaxError(f"`{text}` has an empty source", "Several sources are written `(q, k, v)`.")
    return sources


def _match_side(text: str, side: str, paths: tuple[KeyPath, ...]) -> tuple[_Match, ...]:
    found = _match_leaves(text, paths)
    if not found:
        raise _not_found(text, paths, side)
    return found


def _join(src: str, sources: Sequence[_Match], dst: str, targets: Sequence[_Match]) -> list[KeyPath | None]:
    """Finds the source of each target; None where there is none."""
    (_, from_source), (_, from_target) = sources[0], targets[0]
    if (_BELOW in from_source) != (_BELOW in from_target):
        subtree, leaves = (src, dst) if _BELOW in from_source else (dst, src)
        raise PairingError(
            f"`{subtree}` is a subtree, `{leaves}` is not",
            f"Name a subtree on both sides, or `{subtree}.**` for the leaves below it.",
        )
    common = sorted(from_source.keys() & from_target.keys())
    by_key: dict[tuple[str, ...], list[KeyPath]] = {}
    for path, captures in sources:
        by_key.setdefault(tuple(captures[name] for name in common), []).append(path)
    column: list[KeyPath | None] = []
    for alias, captures in targets:
        fitting = by_key.get(tuple(captures[name] for name in common), [])
        if len(fitting) > 1:
            raise PairingError(
                f"`{alias.spelling}` could follow from {len(fitting):,} leaves of `{src}`: {_listed(fitting)}", _HINT
            )
        column.append(fitting[0] if fitting else None)
    return column


def _count(leaves: int) -> str:
    return f"{leaves:,} leaf" if leaves == 1 else f"{leaves:,} leaves"


def _listed(paths: Sequence[KeyPath]) -> str:
    names = ", ".join(f"`{path.spelling}`" for path in paths[:LISTED])
    return f"{names} and {len(paths) - LISTED:,} more" if len(paths) > LISTED else names or "none"
