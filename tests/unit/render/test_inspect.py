"""`tiecli/render/inspect.py`: what is said of a checkpoint whose leaves are chunked, compressed and shared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema

from tiecli.checkpoints.protocol import LeafStorage
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.render.inspect import inspect_to_json, inspect_to_text
from tiecli.render.lines import plain_text
from tiecli.verbs.inspect import InspectedLeaf, InspectedTie, InspectReport

EMBED, HEAD = KeyPath(("params", "embed")), KeyPath(("params", "layers", 0, "head"))
COUNT = KeyPath(("opt_state", 0, "count"))
WIDE, SCALAR = LeafSpec((32, 16), DTYPES["BF16"]), LeafSpec((), DTYPES["I32"])
SPREAD = LeafStorage("several", 700, "zstd", (16, 8), 4, "2×2 mesh, ('x', 'y')", "jax.Array")

ORBAX = InspectReport(
    root=Path("run"),
    format="orbax",
    description="step 1000, item params; OCDBT, zarr3",
    files=("d/0", "d/1", "manifest.ocdbt"),
    leaves=(
        InspectedLeaf(EMBED, WIDE, SPREAD),
        InspectedLeaf(HEAD, WIDE, SPREAD),
        InspectedLeaf(COUNT, SCALAR, LeafStorage("manifest.ocdbt", 4, "none", (), 1, "", "scalar")),
    ),
    leaf_count=3,
    nbytes=2052,
    stored_nbytes=704,
    dtypes={"BF16": 2, "I32": 1},
    ties=(InspectedTie(HEAD, (EMBED,), "same", "manifest", stored_twice=False, shares_bytes=True),),
    metadata={},
    other_nodes=((KeyPath(("opt_state", 1)), "None"), (KeyPath(("x",)), "Dict"), (KeyPath(("name",)), "string")),
)


def shown(report: InspectReport, *, table: bool = False) -> list[str]:
    """The lines as text."""
    return plain_text(inspect_to_text(report, table=table)).splitlines()


def test_the_head_says_which_part_and_what_it_takes_up() -> None:
    """Part, layout, sizes, then what is no array, then the ties."""
    assert shown(ORBAX)[:4] == [
        "run  orbax (step 1000, item params; OCDBT, zarr3), 3 leaves, 2.0 KiB, 704 B stored, BF16×2 I32×1",
        "also  2 empty nodes, 1 string",
        "ties  params.layers[0].head = params.embed  written down by tiecli  stored once, both restore",
        "",
    ]


def test_stored_sizes_are_left_out_where_they_say_nothing() -> None:
    """An uncompressed checkpoint takes up what its leaves hold."""
    assert "stored" not in shown(replace(ORBAX, stored_nbytes=2052))[0]


def test_both_leaves_of_a_shared_tie_carry_a_note() -> None:
    """Both are restored, so both stand in the tree, without any word of how they are stored."""
    assert shown(ORBAX)[4:] == [
        "params",
        "├── embed            BF16    32×16   1.0 KiB   ↔ params.layers[0].head",
        "└── layers[0].head   BF16    32×16   1.0 KiB   ↔ params.embed",
        "opt_state[0].count   I32    scalar       4 B",
    ]


def test_a_leaf_made_of_several_is_noted_at_each() -> None:
    """Of `concat` every source is told."""
    tie = InspectedTie(KeyPath(("qk",)), (EMBED, HEAD), "concat(0)", "manifest", stored_twice=False, shares_bytes=False)

    rows = shown(replace(ORBAX, ties=(tie,)))

    assert "qk = (params.embed, params.layers[0].head) | concat(0)" in rows[2]
    assert [row.endswith("↔ qk") for row in rows[4:]] == [False, True, True, False]


def test_the_table_has_columns_only_for_what_there_is_to_say() -> None:
    """Chunks, codec, stored size and sharding, where one leaf at least has any."""
    heading, embed, _, count = (row.split("  ") for row in shown(ORBAX, table=True)[4:])

    assert [cell.strip() for cell in heading if cell] == [
        "leaf", "dtype", "shape", "size", "stored", "chunks", "codec", "sharding"
    ]  # fmt: skip
    assert [cell.strip() for cell in embed if cell.strip()] == [
        "params.embed", "BF16", "32×16", "1.0 KiB", "700 B", "4 of 16×8", "zstd", "2×2 mesh, ('x', 'y')"
    ]  # fmt: skip
    assert [cell.strip() for cell in count if cell.strip()] == ["opt_state[0].count", "I32", "scalar", "4 B"]
    whole = [leaf._replace(storage=leaf.storage._replace(chunks=1, sharding="cpu:0")) for leaf in ORBAX.leaves]
    assert "sharding" not in shown(replace(ORBAX, leaves=tuple(whole)), table=True)[4]
    plain = replace(ORBAX, leaves=ORBAX.leaves[2:], ties=())
    assert shown(plain, table=True)[-2].split() == ["leaf", "dtype", "shape", "size"]


def test_json_follows_the_schema() -> None:
    """What is particular to Orbax is in the published schema too."""
    schema = Path(__file__).parents[3] / "docs" / "schemas" / "inspect.schema.json"
    document = inspect_to_json(ORBAX)

    jsonschema.validate(document, json.loads(schema.read_text()))
    assert document["other_nodes"] == [
        {"path": "opt_state[1]", "kind": "None"}, {"path": "x", "kind": "Dict"}, {"path": "name", "kind": "string"}
    ]  # fmt: skip
