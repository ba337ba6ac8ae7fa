"""`tiecli/render/tree.py`: what folds together, and what must not."""

from __future__ import annotations

from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.render.lines import align_columns, plain_text
from tiecli.render.tree import DEEPEST, Node, build_tree, fold_rows

SMALL, LARGE = LeafSpec((4,), DTYPES["F32"]), LeafSpec((8,), DTYPES["F32"])


def shown(
    leaves: list[tuple[str, LeafSpec]], notes: dict[str, str] | None = None, depth: int | None = None
) -> list[str]:
    """The rows as text."""
    by_path = {KeyPath.from_name(name): note for name, note in (notes or {}).items()}
    return rows_of(build_tree(((KeyPath.from_name(name), spec) for name, spec in leaves), by_path), depth)


def rows_of(root: Node, depth: int | None = None) -> list[str]:
    """The rows of a tree as text."""
    return plain_text(align_columns(fold_rows(root, depth), right=(2, 3))).splitlines()


def shown_typed(*paths: tuple[Key, ...]) -> list[str]:
    """The names in the rows of small leaves at these places."""
    return [row.split("   ")[0] for row in rows_of(build_tree(((KeyPath(keys), SMALL) for keys in paths), {}))]


def test_alike_layers_take_one_row_each_other_kind_its_own() -> None:
    """Layers group by what they hold, wherever they stand among the others."""
    leaves = [(f"h.{i}.w", LARGE if i % 2 else SMALL) for i in range(6)]

    assert [row.split()[0] + row.split()[1] for row in shown(leaves) if "{" in row] == ["├──{0,2,4}.w", "└──{1,3,5}.w"]


def test_runs_of_numbers_are_spelled_as_ranges() -> None:
    """Numbers are in order whatever the order in the file, and runs are short to write."""
    leaves = [(f"h.{i}.w", SMALL) for i in ("0", "1", "10", "11", "12", "2", "3")]

    assert shown(leaves)[0] == "h.{0..3,10..12}   7 alike, 16 B each"


def test_a_noted_leaf_is_never_folded_away() -> None:
    """A tie in one layer must be seen."""
    leaves = [(f"h.{i}.w", SMALL) for i in range(4)]

    rows = shown(leaves, {"h.2.w": "↔ other"})

    assert any("2.w" in row and "↔ other" in row for row in rows)
    assert any("{0,1,3}" in row for row in rows)


def test_depth_closes_what_is_below_and_says_how_much_it_holds() -> None:
    """Nothing below the depth is shown, everything is counted."""
    leaves = [("a.b.c", SMALL), ("a.b.d", LARGE), ("a.e", SMALL)]

    assert shown(leaves, depth=0) == ["a   3 leaves, 64 B"]


def test_odd_names_keep_their_places() -> None:
    """Empty keys, and a leaf that is also a branch."""
    leaves = [("", SMALL), (".a", SMALL), ("a", SMALL), ("a..b", LARGE)]
    root = build_tree(((KeyPath.from_name(name), spec) for name, spec in leaves), {})

    assert root.children[""].children["a"].spec == SMALL
    assert root.children["a"].spec == SMALL
    assert root.children["a"].children[""].children["b"].spec == LARGE


def test_indices_are_told_from_numbered_names() -> None:
    """A list folds as the pattern that finds it, and never with the numbered names of a dict."""
    lists = [("p", i, name) for i in range(4) for name in "qk"]

    assert shown_typed(*lists) == ["p[{0..3}]", "└── {q,k}"]
    assert shown_typed(("p", 0), ("p", "0")) == ["p", "├── [0]", "└── 0"]
    assert shown_typed((0, "w"), (1, "w")) == ["[{0,1}].w"]
    assert shown_typed(("p", 0, 1)) == ["p[0][1]"]


def test_keys_with_dots_are_quoted() -> None:
    """A dot within a key is no step down."""
    assert shown_typed(("a.b", "w"), ("a", "b", "w")) == ['"a.b".w', "a.b.w"]
    assert shown_typed(()) == ["[]"]


def test_hostile_names_cost_no_recursion() -> None:
    """Thousands of keys, or of digits, are a name like any other."""
    rows = shown([(".".join(["0"] * 5_000), SMALL), ("1" * 5_000, SMALL), ("h." + ".".join(["a"] * DEEPEST), SMALL)])

    assert len(rows) == 3
    assert rows[0].startswith("0.0.0.0")
