"""Tree: leaves folded for reading: repeated layers once, chains of single children joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tiecli.leaves import LeafSpec
from tiecli.render.lines import Span, count_of, format_bytes

Row = list[str | Span]
Signature = tuple[LeafSpec | None, tuple[tuple[str, int], ...]]


@dataclass(slots=True)
class Node:
    """A place in the tree; it can be a leaf, an inner node, or (in odd files) both."""

    name: str
    spec: LeafSpec | None = None
    note: str = ""
    children: dict[str, Node] = field(default_factory=dict)


def build_tree(leaves: Iterable[tuple[str, LeafSpec]], notes: Mapping[str, str]) -> Node:
    """Builds the tree of on-disk names, split at dots.

    Args:
        leaves: Names with their specs.
        notes: What to say beside a leaf, by name; such leaves are never folded away.
    """
    root = Node("")
    opened: dict[str, Node] = {}
    for name, spec in leaves:
        node = _open_node(name, root, opened)
        node.spec, node.note = spec, notes.get(name, "")
    return root


def _open_node(name: str, root: Node, opened: dict[str, Node]) -> Node:
    """Gives the node of a name, making it and those above it where they are new."""
    above, dot, key = name.rpartition(".")
    parent = root
    if dot:
        parent = opened.get(above) or _open_node(above, root, opened)
    node = opened[name] = parent.children[key] = parent.children.get(key) or Node(key)
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
        row
        for names, node in _group_children(root, signatures)
        for row in _rows(names, node, "", "", depth, signatures)
    ]


def _rows(
    names: Sequence[str], node: Node, branch: str, below: str, depth: int | None, signatures: dict[Signature, int]
) -> Iterator[Row]:
    """Yields the row of one group of alike nodes, then the rows of what is in it."""
    label = _fold_names(names)
    while node.spec is None and len(node.children) == 1 and len(names) == 1:
        (child,) = node.children.values()
        label, node = f"{label}.{child.name}", child
    groups = list(_group_children(node, signatures))
    if node.spec is None and len(groups) == 1 and (len(names) == 1 or groups[0][1].spec) and depth != 0:
        # Only alike children: `h` and `{0..11}` share a line.
        names, node = groups[0]
        label = f"{label}.{_fold_names(names)}"
        groups = list(_group_children(node, signatures))
    if node.spec is not None:
        each = " each" if len(names) > 1 else ""
        size = format_bytes(node.spec.nbytes) + each
        yield [(branch + label, ""), (node.spec.dtype.name, "dtype"), _shape(node.spec), size, (node.note, "tie")]
    else:
        yield [(branch + label, "node"), (_describe(names, node, closed=depth == 0), "dim")]
    if depth == 0:
        return
    deeper = None if depth is None else depth - 1
    for i, (inner_names, inner) in enumerate(groups):
        last = i == len(groups) - 1
        head, tail = ("└── ", "    ") if last else ("├── ", "│   ")
        yield from _rows(inner_names, inner, below + head, below + tail, deeper, signatures)


def _describe(names: Sequence[str], node: Node, *, closed: bool) -> str:
    if len(names) > 1:
        return f"{len(names)} alike, {format_bytes(sum(spec.nbytes for spec in _list_specs(node)))} each"
    if not closed:
        return ""
    specs = list(_list_specs(node))
    return f"{count_of(len(specs), 'leaf', 'leaves')}, {format_bytes(sum(spec.nbytes for spec in specs))}"


def _group_children(node: Node, signatures: dict[Signature, int]) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yields children, alike ones together: numbered ones by contents, leaves by spec."""
    groups: dict[object, list[Node]] = {}
    children = list(node.children.values())
    if all(child.name.isdecimal() for child in children):
        children.sort(key=lambda child: int(child.name))
    for child in children:
        alike: object = id(child)
        if child.name.isdecimal():
            alike = _signature(child, signatures)
        elif child.spec is not None and not child.children and not child.note:
            alike = ("leaf", child.spec)
        groups.setdefault(alike, []).append(child)
    for members in groups.values():
        yield tuple(member.name for member in members), members[0]


def _signature(node: Node, signatures: dict[Signature, int]) -> int:
    """Numbers a subtree so that two get the same number exactly if they hold the same."""
    if node.note:
        return -id(node)  # never alike, and neither is what holds it
    inner = tuple(sorted([(child.name, _signature(child, signatures)) for child in node.children.values()]))
    return signatures.setdefault((node.spec, inner), len(signatures))


def _fold_names(names: Sequence[str]) -> str:
    """Spells alike names as one: `{0..11}`, `{weight,bias}`.

    Example:
        >>> _fold_names(["0", "1", "2", "5"])
        '{0..2,5}'
    """
    if len(names) == 1:
        return names[0]
    if not all(name.isdecimal() and str(int(name)) == name for name in names):
        return "{" + ",".join(names) + "}"
    runs: list[list[int]] = []
    for number in map(int, names):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    spelled = [f"{run[0]}..{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs]
    return "{" + ",".join(spelled) + "}"


def _shape(spec: LeafSpec) -> str:
    return "×".join(map(str, spec.shape)) or "scalar"
