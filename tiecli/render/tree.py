"""Tree: leaves folded for reading: repeated layers once, chains of single children joined."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import LeafSpec, format_bytes
from tiecli.render.lines import Span, count_of

Row = list[str | Span]
Signature = tuple[LeafSpec | None, frozenset[tuple[Key, int]]]

DEEPEST = 100
"""Keys further down are shown in one piece: names come from untrusted files, and a level is a call."""


@dataclass(slots=True)
class Node:
    """A place in the tree; it can be a leaf, an inner node, or (in odd files) both."""

    key: Key
    spec: LeafSpec | None = None
    note: str = ""
    children: dict[Key, Node] = field(default_factory=dict)


def build_tree(leaves: Iterable[tuple[KeyPath, LeafSpec]], notes: Mapping[KeyPath, str]) -> Node:
    """Builds the tree of leaves, a level a key.

    Args:
        leaves: Where they stand, with their specs.
        notes: What to say beside a leaf; such leaves are never folded away.
    """
    root = Node("")
    opened: dict[tuple[Key, ...], Node] = {(): root}
    for path, spec in leaves:
        keys = path.keys or (path.spelling,)
        if len(keys) > DEEPEST:
            keys = (*keys[:DEEPEST], KeyPath(keys[DEEPEST:]).spelling)
        node = _open_node(keys, opened)
        node.spec, node.note = spec, notes.get(path, "")
    return root


def _open_node(keys: tuple[Key, ...], opened: dict[tuple[Key, ...], Node]) -> Node:
    """Gives the node of a place, making it and those above it where they are new."""
    node = opened.get(keys)
    if node is None:
        parent = opened.get(keys[:-1]) or _open_node(keys[:-1], opened)
        node = opened[keys] = parent.children[keys[-1]] = Node(keys[-1])
    return node


def _list_specs(node: Node) -> Iterator[LeafSpec]:
    """Yields the specs of all leaves below a node."""
    if node.spec is not None:
        yield node.spec
    for child in node.children.values():
        yield from _list_specs(child)


def fold_rows(root: Node, depth: int | None) -> list[Row]:
    """Gives the rows of the tree: branch and name, dtype, shape, size, note.

    Args:
        root: As `build_tree` gives it.
        depth: How many levels of names to open; None for all.
    """
    signatures: dict[Signature, int] = {}
    return [
        row for keys, node in _group_children(root, signatures) for row in _rows(keys, node, "", "", depth, signatures)
    ]


def _rows(
    keys: Sequence[Key], node: Node, branch: str, below: str, depth: int | None, signatures: dict[Signature, int]
) -> Iterator[Row]:
    """Yields the row of one group of alike nodes, then the rows of what is in it."""
    label = _fold_keys(keys)
    while node.spec is None and len(node.children) == 1 and len(keys) == 1:
        (child,) = node.children.values()
        label, node = _join(label, (child.key,)), child
    groups = list(_group_children(node, signatures))
    if node.spec is None and len(groups) == 1 and (len(keys) == 1 or groups[0][1].spec) and depth != 0:
        # Only alike children: `h` and `{0..11}` share a line.
        keys, node = groups[0]
        label = _join(label, keys)
        groups = list(_group_children(node, signatures))
    if node.spec is not None:
        each = " each" if len(keys) > 1 else ""
        size = format_bytes(node.spec.nbytes) + each
        yield [(branch + label, ""), (node.spec.dtype.name, "dtype"), _shape(node.spec), size, (node.note, "tie")]
    else:
        yield [(branch + label, "node"), (_describe(len(keys), node, closed=depth == 0), "dim")]
    if depth == 0:
        return
    deeper = None if depth is None else depth - 1
    for i, (inner_keys, inner) in enumerate(groups):
        last = i == len(groups) - 1
        head, tail = ("└── ", "    ") if last else ("├── ", "│   ")
        yield from _rows(inner_keys, inner, below + head, below + tail, deeper, signatures)


def _describe(alike: int, node: Node, *, closed: bool) -> str:
    if alike > 1:
        return f"{alike} alike, {format_bytes(sum(spec.nbytes for spec in _list_specs(node)))} each"
    if not closed:
        return ""
    specs = list(_list_specs(node))
    return f"{count_of(len(specs), 'leaf', 'leaves')}, {format_bytes(sum(spec.nbytes for spec in specs))}"


def _group_children(node: Node, signatures: dict[Signature, int]) -> Iterator[tuple[tuple[Key, ...], Node]]:
    """Yields children, alike ones together: numbered ones by contents, leaves by spec."""
    groups: dict[object, list[Node]] = {}
    children = list(node.children.values())
    if all(_is_number(child.key) for child in children):
        children.sort(key=lambda child: int(child.key))
    for child in children:
        alike: object = id(child)
        if _is_number(child.key):
            alike = (type(child.key), _signature(child, signatures))
        elif child.spec is not None and not child.children and not child.note:
            alike = ("leaf", child.spec)
        groups.setdefault(alike, []).append(child)
    for members in groups.values():
        yield tuple(member.key for member in members), members[0]


def _is_number(key: Key) -> bool:
    return isinstance(key, int) or (key.isdecimal() and len(key) < 19)


def _signature(node: Node, signatures: dict[Signature, int]) -> int:
    """Numbers a subtree so that two get the same number exactly if they hold the same."""
    if node.note:
        return -id(node)  # never alike, and neither is what holds it
    inner = frozenset([(key, _signature(child, signatures)) for key, child in node.children.items()])
    return signatures.setdefault((node.spec, inner), len(signatures))


def _fold_keys(keys: Sequence[Key]) -> str:
    """Spells alike keys as one pattern: `{0..11}`, `{weight,bias}`, `[{0..11}]`.

    Example:
        >>> _fold_keys(["0", "1", "2", "5"]), _fold_keys([0, 1]), _fold_keys(["a.b"])
        ('{0..2,5}', '[{0,1}]', '"a.b"')
    """
    indices = isinstance(keys[0], int)
    if len(keys) == 1:
        text = str(keys[0])
        inside = json.dumps(text, ensure_ascii=False) if "." in text else text
    elif all(_is_number(key) and str(int(key)) == str(key) for key in keys):
        inside = "{" + fold_numbers(map(int, keys)) + "}"
    else:
        inside = "{" + ",".join(map(str, keys)) + "}"
    return f"[{inside}]" if indices else inside


def fold_numbers(numbers: Iterable[int]) -> str:
    """Spells numbers as runs.

    Example:
        >>> fold_numbers([0, 1, 2, 5])
        '0..2,5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _join(label: str, keys: Sequence[Key]) -> str:
    """Spells a place below another."""
    return f"{label}{'' if isinstance(keys[0], int) else '.'}{_fold_keys(keys)}"


def _shape(spec: LeafSpec) -> str:
    return "×".join(map(str, spec.shape)) or "scalar"
