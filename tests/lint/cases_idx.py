"""Cases of the rules about shards and their index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.lint.building import Case, Leaf, write_file, write_json, write_shards
from tests.unit.checkpoints.safetensors.surgery import tie

INDEX = "model.safetensors.index.json"
ONE, TWO, THREE = (f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3))
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
A: dict[str, Leaf] = {"a.weight": ("F32", (4, 2))}
B: dict[str, Leaf] = {"b.weight": ("F32", (4, 3))}
C: dict[str, Leaf] = {"c.weight": ("F32", (4, 5))}
PAIR = {FIRST: A, SECOND: B}
ROWS = {"a.weight": FIRST, "b.weight": SECOND}
SIZE = 4 * 2 * 4 + 4 * 3 * 4


def pair(directory: Path) -> Path:
    """Two sound shards and their index."""
    return write_shards(directory, PAIR)


def index_of(directory: Path, rows: object, metadata: object = None, *, raw: str = "") -> Path:
    """Two sound shards, and an index that says what it is told to."""
    write_shards(directory, PAIR)
    metadata = {"total_size": SIZE} if metadata is None else metadata
    if raw:
        (directory / INDEX).write_text(raw, encoding="utf-8")
    else:
        write_json(directory / INDEX, {"metadata": metadata, "weight_map": rows})
    return directory


def with_file(directory: Path, name: str, leaves: Mapping[str, Leaf] = C) -> Path:
    """Two sound shards, and one file more."""
    write_shards(directory, PAIR)
    write_file(directory / name, leaves)
    return directory


def without(directory: Path, *names: str) -> Path:
    """Two shards and their index, less some of it."""
    write_shards(directory, PAIR)
    for name in names:
        (directory / name).unlink()
    return directory


def tied(directory: Path) -> Path:
    """Two shards, the second of which tiecli has emptied."""
    leaves: dict[str, Leaf] = {"wte.weight": ("F32", (4, 2))}
    head: dict[str, Leaf] = {"lm_head.weight": ("F32", (4, 2))}
    write_shards(directory / "before", {FIRST: leaves, SECOND: head})
    tie(directory / "before", directory / "after", {"lm_head.weight": "wte.weight"})
    return directory / "after"


def file_sizes(directory: Path) -> Path:
    """Two shards, and an index whose total is the size of the files."""
    pair(directory)
    return write_shards(directory, PAIR, total_size=sum((directory / name).stat().st_size for name in PAIR))


def packed(directory: Path) -> Path:
    """Weights of four bits each in integers, and an index that counts the weights."""
    leaves: dict[str, Leaf] = {"a.weight": ("U32", (4, 2)), "a.scales": ("F16", (4, 1))}
    write_shards(directory, {FIRST: leaves, SECOND: B})
    rows = {**dict.fromkeys(leaves, FIRST), "b.weight": SECOND}
    write_json(directory / INDEX, {"metadata": {"total_parameters": 76}, "weight_map": rows})
    return directory


def repeat(rows: Mapping[str, str]) -> str:
    """The text of an index that has its first row twice."""
    text = json.dumps({"metadata": {"total_size": SIZE}, "weight_map": rows})
    return text.replace('"weight_map": {', '"weight_map": {"a.weight": "model.safetensors", ')


def linked(directory: Path) -> Path:
    """Shards that are links to files elsewhere, as in the cache of the Hub."""
    write_shards(directory / "snapshot", PAIR)
    for number, name in enumerate(PAIR):
        blob = directory / "blobs" / str(number)
        blob.parent.mkdir(exist_ok=True)
        (directory / "snapshot" / name).rename(blob)
        (directory / "snapshot" / name).symlink_to(f"../blobs/{number}")
    return directory / "snapshot"


def dangling(directory: Path) -> Path:
    """A shard that is a link to nothing."""
    without(directory, SECOND)
    (directory / SECOND).symlink_to("../blobs/gone")
    return directory


def two_variants(directory: Path) -> Path:
    """Shards in two precisions, each with an index of its own, and a single file in a third."""
    write_shards(directory, PAIR)
    halves = {FIRST.replace("model", "model.fp16"): A, SECOND.replace("model", "model.fp16"): B}
    for name, leaves in halves.items():
        write_file(directory / name, leaves)
    rows = {leaf: name for name, leaves in halves.items() for leaf in leaves}
    write_json(directory / "model.safetensors.index.fp16.json", {"metadata": {}, "weight_map": rows})
    write_file(directory / "model.fp8.safetensors", C)
    return directory


def two_indexes(directory: Path) -> Path:
    """Two sharded models in one directory."""
    names = ("decoder-00001-of-00002.safetensors", "decoder-00002-of-00002.safetensors")
    write_shards(directory, dict(zip(names, (A, C), strict=True)))
    (directory / INDEX).rename(directory / "decoder.safetensors.index.json")
    return pair(directory)


def beside_adapter(directory: Path) -> Path:
    """Two shards with an adapter and an optimizer's state beside them."""
    write_json(directory / "adapter_config.json", {"peft_type": "LORA"})
    write_file(directory / "optimizer.safetensors", {"step": ("I64", (1,))})
    write_file(directory / "._model-00001-of-00002.safetensors", C)
    return pair(directory)


def numbered(directory: Path, *names: str) -> Path:
    """Shards of the given names, all in the index."""
    leaves: list[Mapping[str, Leaf]] = [A, B, C]
    return write_shards(directory, dict(zip(names, leaves, strict=False)))


def unnumbered_set(directory: Path) -> Path:
    """Shards without an index."""
    return without(directory, INDEX)


def two_models(directory: Path) -> Path:
    """Two checkpoints of one file each, with the same names."""
    write_file(directory / "first.safetensors", A)
    write_file(directory / "second.safetensors", A)
    return directory


def variant_only(directory: Path) -> Path:
    """Shards of one variant, whose index has a name of its own."""
    two_variants(directory)
    for name in (*PAIR, INDEX, "model.fp8.safetensors"):
        (directory / name).unlink()
    return directory


CASES = [
    Case("IDX001", "one-shard-of-two", lambda it: without(it, SECOND), True, says=(f"`{SECOND}`, which does not",)),
    Case("IDX001", "both-shards", lambda it: without(it, FIRST, SECOND), True, says=("2 files that",)),
    Case("IDX001", "link-to-nothing", dangling, True),
    Case("IDX001", "all-there", pair, False),
    Case("IDX001", "links-of-the-cache", linked, False),
    Case("IDX001", "shard-in-a-subdirectory", lambda it: write_shards(it, {"parts/1.safetensors": A}), False),
    Case(
        "IDX002",
        "row-without-tensor",
        lambda it: index_of(it, {**ROWS, "d.weight": SECOND}),
        True,
        says=("`d.weight`", f"`{SECOND}`", "no other file"),
    ),
    Case(
        "IDX002",
        "rows-exchanged",
        lambda it: index_of(it, {"a.weight": SECOND, "b.weight": FIRST}),
        True,
        says=(f"it is in `{FIRST}`",),
    ),
    Case("IDX002", "rows-in-another-order", lambda it: index_of(it, dict(reversed(ROWS.items()))), False),
    Case("IDX002", "emptied-by-tiecli", tied, False),
    Case("IDX003", "every-tensor-has-a-row", lambda it: index_of(it, ROWS), False),
    Case(
        "IDX003",
        "two-tensors-without-rows",
        lambda it: write_shards(it, {FIRST: {**A, **C}, SECOND: B}, weight_map=ROWS),
        True,
        says=("`c.weight` is in `model-00001",),
    ),
    Case("IDX003", "single-file-needs-no-row", lambda it: write_file(it / "model.safetensors", A), False),
    Case("IDX004", "same-tensor-twice", lambda it: write_shards(it, {FIRST: {**A, **B}, SECOND: B}), True),
    Case(
        "IDX004",
        "same-shape-other-name",
        lambda it: write_shards(it, {FIRST: A, SECOND: {"b": ("F32", (4, 2))}}),
        False,
    ),
    Case("IDX004", "two-single-files", two_models, False),
    Case(
        "IDX005",
        "wrong-sum",
        lambda it: write_shards(it, PAIR, total_size=656),
        True,
        says=("total_size is 656, tensors sum to 80",),
    ),
    Case("IDX005", "size-of-the-files", file_sizes, True, says=("headers included",)),
    Case("IDX005", "parameters", lambda it: index_of(it, ROWS, {"total_size": SIZE, "total_parameters": 3}), True),
    Case("IDX005", "text", lambda it: index_of(it, ROWS, {"total_size": str(SIZE)}), True),
    Case("IDX005", "float", lambda it: index_of(it, ROWS, {"total_size": float(SIZE)}), False),
    Case("IDX005", "no-total", lambda it: index_of(it, ROWS, {}), False),
    Case("IDX005", "buffers-do-not-count", lambda it: index_of(it, ROWS, {"total_parameters": 15}), False),
    Case("IDX005", "packed-integers", packed, False),
    Case("IDX006", "consolidated", lambda it: with_file(it, "consolidated.safetensors"), True),
    Case("IDX006", "another-split", lambda it: with_file(it, THREE), True),
    Case("IDX006", "adapter-and-optimizer", beside_adapter, False),
    Case("IDX006", "emptied-by-tiecli", tied, False),
    Case("IDX006", "variants", two_variants, False),
    Case("IDX006", "two-indexes", two_indexes, False),
    Case("IDX007", "gap", lambda it: numbered(it, ONE, THREE), True, says=("1, 3 do not match `-of-00003`",)),
    Case("IDX007", "end-missing", lambda it: numbered(it, ONE, TWO), True),
    Case(
        "IDX007",
        "counted-from-zero",
        lambda it: numbered(it, "model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"),
        False,
    ),
    Case("IDX007", "no-numbers", lambda it: numbered(it, "embed.safetensors", "layers.safetensors"), False),
    Case("IDX007", "emptied-by-tiecli", tied, False),
    Case(
        "IDX008",
        "parent-directory",
        lambda it: index_of(it, {**ROWS, "c.weight": "../other.safetensors"}),
        True,
        says=("`../other.safetensors`",),
    ),
    Case("IDX008", "absolute", lambda it: index_of(it, {**ROWS, "c.weight": "/etc/passwd"}), True),
    Case("IDX008", "drive-letter", lambda it: index_of(it, {**ROWS, "c.weight": "C:model.safetensors"}), True),
    Case("IDX008", "links-of-the-cache", linked, False),
    Case("IDX008", "dots-in-a-name", lambda it: write_shards(it, {"model..1.safetensors": A}), False),
    Case("IDX009", "both", lambda it: with_file(it, "model.safetensors"), True),
    Case(
        "IDX009",
        "indexed-single-file",
        lambda it: write_shards(it, {"model.safetensors": {**A, **B}}),
        False,
    ),
    Case("IDX009", "another-variant", lambda it: with_file(it, "model.fp16.safetensors"), False),
    Case(
        "IDX010", "no-json", lambda it: index_of(it, {}, raw='{"weight_map": {"a.weight": '), True, says=("not JSON",)
    ),
    Case("IDX010", "no-rows", lambda it: index_of(it, {}, raw='{"metadata": {}}'), True, says=("`weight_map`",)),
    Case("IDX010", "row-that-is-a-number", lambda it: index_of(it, {**ROWS, "a.weight": 1}), True),
    Case("IDX010", "repeated-row", lambda it: index_of(it, {}, raw=repeat(ROWS)), True, says=("`a.weight` 2 times",)),
    Case("IDX010", "no-metadata", lambda it: index_of(it, {}, raw=json.dumps({"weight_map": ROWS})), True),
    Case("IDX010", "no-index", unnumbered_set, True, says=(f"`{INDEX}` is missing",)),
    Case("IDX010", "unknown-members", lambda it: index_of(it, ROWS, {"total_size": SIZE, "note": {"by": 1}}), False),
    Case("IDX010", "index-of-a-variant", variant_only, False),
    Case("IDX010", "one-file", lambda it: write_file(it / "model.safetensors", A), False),
]
