"""`tiecli convert`: every layout there and back, ties with it, and whatever is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import tiecli
from tests.e2e.conftest import Outcome, Run, Write
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Selection
from tiecli.cli.entry import main

FIXTURES = Path(__file__).parents[2] / "fixtures"
ORBAX = FIXTURES / "orbax"
ITEMS = {"items": "params"}
LAYOUTS = sorted(path.name for path in ORBAX.iterdir() if path.name != "packed")
FILES = sorted(path.parent.name for path in FIXTURES.glob("*/config.json"))

Leaf = tuple[str, bytes]


def select(layout: str) -> tuple[str, ...]:
    """The options that name the item of a layout."""
    return ("--item", ITEMS[layout]) if layout in ITEMS else ()


def succeed(outcome: Outcome) -> Outcome:
    """A command that was to work."""
    assert outcome.code == 0, outcome.stderr
    return outcome


def leaves_of(path: Path, item: str | None = None) -> dict[str, Leaf]:
    """Every leaf by its exact name, which is the same in both formats."""
    found = {}
    with open_reader(path, Selection(item=item)) as reader:
        for at, spec in reader.specs().items():
            values = bytearray(spec.nbytes)
            reader.read_into(at, 0, memoryview(values))
            name = at.spelling if reader.format == "safetensors" else str(at)
            found[name] = (str(spec), bytes(values))
    return found


def describe(path: Path, item: str | None = None) -> dict[str, object]:
    """What Orbax knows beside shapes and values."""
    with open_reader(path, Selection(item=item)) as reader:
        storages = {str(at): reader.storage(at) for at in reader.specs()}
        kinds = {at: (storage.kind, storage.sharding) for at, storage in storages.items()}
        nodes = {str(at): kind for at, kind in reader.other_nodes}
        return {"kinds": kinds, "nodes": nodes, "metadata": reader.custom_metadata()}


@pytest.mark.parametrize("options", [(), ("--zarr3", "--compress")], ids=" ".join)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_there_and_back(run: Run, tmp_path: Path, layout: str, options: tuple[str, ...]) -> None:
    """Leaves bit for bit, and all that Orbax knows of the tree beside them."""
    flat, back, again = tmp_path / "flat.safetensors", tmp_path / "back", tmp_path / "again.safetensors"
    source, item = ORBAX / layout, ITEMS.get(layout)

    succeed(run("convert", source, *select(layout), "-o", flat))
    succeed(run("convert", flat, *options, "-o", back))
    succeed(run("convert", back, "-o", again))

    before = leaves_of(source, item)
    assert before
    assert leaves_of(flat) == leaves_of(back) == before
    assert describe(back) == describe(source, item)
    assert again.read_bytes() == flat.read_bytes()


@pytest.mark.parametrize("fixture", FILES)
def test_every_model_there_and_back(run: Run, tmp_path: Path, fixture: str) -> None:
    """Leaves bit for bit, and the metadata of the files."""
    source, item, back = FIXTURES / fixture, tmp_path / "item", tmp_path / "back"

    report = succeed(run("convert", source, "-o", item, "--json")).json
    succeed(run("convert", item, "-o", back))

    before = leaves_of(source)
    assert report["copied_nbytes"] == report["nbytes"] == sum(len(raw) for _, raw in before.values())
    assert "`config.json`" in report["notices"][0]
    assert leaves_of(item) == leaves_of(back) == before
    with open_reader(source) as first, open_reader(back) as last:
        assert last.custom_metadata() == {"format": "pt", **first.custom_metadata()}


def test_bytes_are_copied_whatever_their_place(run: Run, tmp_path: Path, write: Write) -> None:
    """Large, small, inline and empty leaves, of every width, at any offset."""
    rng = np.random.default_rng(0)
    leaves = {f"w{n}": rng.integers(0, 255, n).astype(np.uint8) for n in (0, 1, 1023, 1024, 1025, 3_000_001)}
    leaves |= {"empty": np.zeros((0, 4), np.float32), "scalar": np.float64(0.1).reshape(()), "odd": leaves["w1025"]}
    source = write(tmp_path / "m.safetensors", leaves)

    succeed(run("convert", source, "-o", tmp_path / "item"))
    report = succeed(run("convert", tmp_path / "item", "-o", tmp_path / "back.safetensors", "--json")).json

    assert leaves_of(tmp_path / "item") == leaves_of(tmp_path / "back.safetensors") == leaves_of(source)
    assert report["copied_nbytes"] == sum(leaf.nbytes for leaf in leaves.values() if leaf.nbytes > 1024)


def test_wide_elements_lie_at_multiples_of_their_size(run: Run, tmp_path: Path) -> None:
    """As the reference writer has them: some readers map the file and look at it in place."""
    succeed(run("convert", ORBAX / "dtypes", "-o", tmp_path / "m.safetensors"))

    with open_reader(tmp_path / "m.safetensors") as reader:
        for path, spec in reader.specs().items():
            extent = reader.extent(path)
            assert extent is not None
            assert extent.offset % (spec.dtype.bits // 8) == 0


@pytest.mark.parametrize("size", ["1", "3KB", "2KiB", "1GB"])
def test_shards(run: Run, tmp_path: Path, size: str) -> None:
    """The names, the index and the sizes of Hugging Face's libraries; one file where all fits into one."""
    out = tmp_path / "out"

    succeed(run("convert", ORBAX / "standard", "--shard-size", size, "-o", out))

    before = leaves_of(ORBAX / "standard")
    assert leaves_of(out) == before
    names = sorted(path.name for path in out.iterdir())
    if size == "1GB":
        assert names == ["model.safetensors"]
        return
    index = json.loads((out / names.pop()).read_text())
    assert names == [f"model-{number:05d}-of-{len(names):05d}.safetensors" for number in range(1, len(names) + 1)]
    assert index["metadata"] == {"total_size": sum(len(raw) for _, raw in before.values())}
    limit = {"1": 1, "3KB": 3000, "2KiB": 2048}[size]
    assert len(names) > 2
    for name in names:
        with safe_open(out / name, "numpy") as shard:
            held = list(shard.keys())
            assert {leaf for leaf, home in index["weight_map"].items() if home == name} == set(held)
            assert sum(shard.get_tensor(leaf).nbytes for leaf in held) <= limit or len(held) == 1
            assert shard.metadata()["format"] == "pt"


def tie_pairs(run: Run, source: Path, out: Path, *options: str) -> None:
    """Ties a leaf plainly, transposed, and by a slice."""
    ties = (("tied", "same"), ("head", "transpose"), ("cut", "[:20]"))
    words = [word for dst, how in ties for word in ("--src", "embed", "--dst", dst, "--transform", how)]
    succeed(run("tie", source, *words, *options, "-o", out))


@pytest.fixture
def untied(write: Write, tmp_path: Path) -> Path:
    """A leaf, and what follows from it."""
    embed = np.random.default_rng(1).normal(size=(40, 16)).astype(np.float32)
    leaves = {
        "embed": embed,
        "tied": embed,
        "head": np.ascontiguousarray(embed.T),
        "cut": embed[:20],
        "body": embed + 1,
    }
    return write(tmp_path / "untied.safetensors", leaves, {"note": "first"})


@pytest.mark.parametrize("options", [(), ("--zarr3",), ("--compress",), ("--mode", "omit")], ids=" ".join)
def test_ties_of_a_file_go_along(run: Run, tmp_path: Path, untied: Path, options: tuple[str, ...]) -> None:
    """What metadata can tell is a second name, the rest is omitted; untie works in either format."""
    tied, item, back = tmp_path / "tied.safetensors", tmp_path / "item", tmp_path / "back.safetensors"
    tie_pairs(run, untied, tied)

    report = succeed(run("convert", tied, *options, "-o", item, "--json")).json
    succeed(run("convert", item, "-o", back))

    second = set() if "omit" in options else {"tied", "head"}
    assert {tie["alias"]: tie["after"] for tie in report["ties"]} == {
        alias: "alias" if alias in second else "omit" for alias in ("tied", "head", "cut")
    }
    before = leaves_of(untied)
    stored = {"embed", "body"}
    assert leaves_of(item) == {name: before[name] for name in stored | second}
    assert leaves_of(back) == {name: before[name] for name in stored}
    with open_reader(tied) as first, open_reader(back) as last:
        assert last.manifest() is not None
        assert first.manifest().records == last.manifest().records
        assert last.manifest().originals == {}
        assert last.metadata() == {"format": "pt", **first.metadata()}
        assert last.metadata()["tied"] == "embed"
    for form, suffix in ((item, ""), (back, ".safetensors")):
        restored = tmp_path / f"untied-{form.name}{suffix}"
        outcome = succeed(run("untie", form, "-o", restored))
        assert outcome.stdout.count("as it was tied") == 3
        assert "changed" not in outcome.stderr
        assert leaves_of(restored) == before
    with open_reader(tmp_path / "untied-back.safetensors.safetensors") as reader:
        assert reader.metadata() == {"format": "pt", "note": "first"}


@pytest.mark.parametrize("layout", ["pytree", "raw", "v1"])
@pytest.mark.parametrize("mode", ["alias", "omit"])
@pytest.mark.parametrize("shards", [(), ("--shard-size", "4KB")], ids=["file", "shards"])
def test_ties_of_an_item_go_along(run: Run, tmp_path: Path, layout: str, mode: str, shards: tuple[str, ...]) -> None:
    """A second name is no leaf of a safetensors file: it is written down, and stored again by `untie`."""
    tied, flat, back = tmp_path / "tied", tmp_path / "flat", tmp_path / "back"
    embed, head = "params.token_embedder.embedding", "params.decoder.logits_dense.kernel"
    copy = "drafter.token_embedder.embedding"
    words = ["--src", embed, "--dst", copy, "--transform", "same"]
    words += ["--src", embed, "--dst", head, "--transform", "transpose"]
    succeed(run("tie", ORBAX / layout, *words, "--mode", mode, "-o", tied))

    report = succeed(run("convert", tied, *shards, "-o", flat, "--json")).json

    before = leaves_of(ORBAX / layout)
    assert leaves_of(flat) == {name: leaf for name, leaf in before.items() if name not in (head, copy)}
    assert {(tie["before"], tie["after"]) for tie in report["ties"]} == {(mode, "omit")}
    with open_reader(flat) as reader:
        manifest = reader.manifest()
        assert manifest is not None
        digests = [digest for record in manifest.records for digest in (record.alias_digest, *record.canonical_digests)]
        assert all(digest.startswith("xxh3_128:") for digest in digests)
        assert reader.metadata()[copy] == embed
    outcome = succeed(run("untie", flat, "-o", back))
    assert outcome.stdout.count("as it was tied") == 2
    assert leaves_of(back) == before
    with open_reader(back) as reader:
        assert copy not in reader.metadata()
    item = tmp_path / "item"
    succeed(run("convert", flat, "-o", item))
    assert leaves_of(item) == before
    succeed(run("untie", item, "-o", tmp_path / "again"))
    assert leaves_of(tmp_path / "again") == before


def test_a_leaf_that_changed_since_it_was_tied(run: Run, tmp_path: Path) -> None:
    """A digest of stored bytes that fits no more cannot be told anew: the tie is recorded as it holds now."""
    embed, copy = "params.token_embedder.embedding", "drafter.token_embedder.embedding"
    tied = tmp_path / "tied"
    succeed(run("tie", ORBAX / "pytree", "--src", embed, "--dst", copy, "-o", tied))
    tree = json.loads((tied / "_METADATA").read_text())
    record = tree["custom_metadata"]["tiecli"]["ties"][0]
    assert record["canonical_digests"][0].startswith("stored_xxh3_128:")
    record["canonical_digests"][0] = "stored_xxh3_128:" + "0" * 32
    (tied / "_METADATA").write_text(json.dumps(tree))

    outcome = succeed(run("convert", tied, "-o", tmp_path / "flat.safetensors"))

    assert f"`{embed}` changed since `{copy}` was tied to it; the tie is recorded as it holds now" in outcome.stderr
    assert "as it was tied" in succeed(run("untie", tmp_path / "flat.safetensors", "-o", tmp_path / "back")).stdout
    assert leaves_of(tmp_path / "back") == leaves_of(ORBAX / "pytree")


def test_an_alias_with_bytes_of_its_own_is_no_alias(run: Run, tmp_path: Path) -> None:
    """Where somebody stored it again without undoing the tie, the leaf goes along and the tie does not."""
    embed, copy = "params.token_embedder.embedding", "drafter.token_embedder.embedding"
    succeed(run("tie", ORBAX / "pytree", "--src", embed, "--dst", copy, "--mode", "omit", "-o", tmp_path / "tied"))
    manifest = json.loads((tmp_path / "tied" / "_METADATA").read_text())["custom_metadata"]["tiecli"]
    shutil.copytree(ORBAX / "pytree", tmp_path / "stored")
    tree = json.loads((tmp_path / "stored" / "_METADATA").read_text())
    (tmp_path / "stored" / "_METADATA").write_text(json.dumps(tree | {"custom_metadata": {"tiecli": manifest}}))

    outcome = succeed(run("convert", tmp_path / "stored", "-o", tmp_path / "flat.safetensors"))

    assert f"`{copy}` is stored with bytes of its own, so its tie ends here" in outcome.stderr
    assert leaves_of(tmp_path / "flat.safetensors") == leaves_of(ORBAX / "pytree")


def test_metadata_of_every_level(run: Run, tmp_path: Path) -> None:
    """Texts, numbers and objects of item and step come back as what they were."""
    source = tmp_path / "source"
    shutil.copytree(ORBAX / "pytree", source)
    custom = {"note": "ü", "5": "5", "lr": 0.1, "none": None, "deep": {"a": [1, "b"]}, "format": "flax"}
    tree = json.loads((source / "_METADATA").read_text())
    (source / "_METADATA").write_text(json.dumps(tree | {"custom_metadata": custom}))

    succeed(run("convert", source, "-o", tmp_path / "flat.safetensors"))
    succeed(run("convert", tmp_path / "flat.safetensors", "-o", tmp_path / "back"))

    with safe_open(tmp_path / "flat.safetensors", "numpy") as flat:
        assert flat.metadata()["lr"] == "0.1"
        assert flat.metadata()["format"] == "flax"
    assert json.loads((tmp_path / "back" / "_METADATA").read_text())["custom_metadata"] == custom


def test_without_output_nothing_is_written(run: Run, tmp_path: Path) -> None:
    """Also with `--dry-run`; what would be lost is said all the same."""
    before = sorted(os.listdir(tmp_path))
    for options in ((), ("--dry-run",), ("-o", str(tmp_path / "out"), "--dry-run")):
        outcome = succeed(run("convert", ORBAX / "named-steps", *options))
        assert "orbax → safetensors" in outcome.stdout
        assert "only step 100 is converted" in outcome.stderr
        assert "Nothing written" in outcome.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_one_part_of_many(run: Run, tmp_path: Path) -> None:
    """A step and an item are chosen as everywhere, and what stays behind is named."""
    outcome = succeed(run("convert", ORBAX / "items", "--item", "opt_state", "-o", tmp_path / "out.safetensors"))

    assert "only the item `opt_state` is converted, not `cfg`, `params`" in outcome.stderr
    assert leaves_of(tmp_path / "out.safetensors") == leaves_of(ORBAX / "items", "opt_state")
    for options in (("--step", "99"), ("--item", "nothing"), ("--item", "cfg"), ()):
        refused = run("convert", ORBAX / "items", *options, "-o", tmp_path / "no")
        assert refused.code == 2
    assert not (tmp_path / "no").exists()


def test_permissions_are_those_of_the_source(run: Run, tmp_path: Path, untied: Path) -> None:
    """Whoever could read the old one can read the new one, and nobody else."""
    untied.chmod(0o640)
    succeed(run("convert", untied, "-o", tmp_path / "item"))
    succeed(run("convert", tmp_path / "item", "--shard-size", "3KB", "-o", tmp_path / "back"))

    for directory in (tmp_path / "item", tmp_path / "back"):
        assert directory.stat().st_mode & 0o777 == 0o750
        for path in directory.rglob("*"):
            assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


def refusals(tmp_path: Path, untied: Path) -> Iterator[tuple[tuple[object, ...], str]]:
    """Requests that cannot be met, each with what is said."""
    new, there = tmp_path / "new", tmp_path / "there"
    item = ORBAX / "pytree"
    yield (item, "-o", there), "exists already"
    yield (untied, "-o", there), "exists already"
    yield (item, "-o", tmp_path / "none" / "new"), "cannot be written: no such file or directory"
    yield (untied, "-o", untied), "an Orbax item is a directory"
    yield (item, "-o", item), "is the source itself"
    yield (item, "-o", new, "--zarr3"), "Leave out --zarr3, --compress and --mode."
    yield (item, "-o", new, "--compress"), "becomes safetensors"
    yield (item, "-o", new, "--mode", "omit"), "becomes safetensors"
    yield (item, "-o", tmp_path / "a.safetensors", "--shard-size", "5GB"), "--shard-size makes a directory"
    yield (item, "-o", new, "--shard-size", "many"), "`many` is no size of a shard"
    yield (untied, "-o", new, "--shard-size", "5GB"), "which has no shards"
    yield (untied, "-o", tmp_path / "a.safetensors"), "an Orbax item is a directory, and the output is named like"
    yield (untied, "-o", new, "--step", "1"), "has no steps and no items"
    yield (tmp_path / "nothing", "-o", new), "nothing"
    yield (ORBAX / "packed", "-o", new), "`left/.zarray` holds 'int4'"


def test_what_cannot_be_meant_is_refused(run: Run, tmp_path: Path, untied: Path) -> None:
    """With exit code 2, a hint, and nothing written."""
    (tmp_path / "there").mkdir()
    before = take_stock(tmp_path)

    for arguments, message in refusals(tmp_path, untied):
        outcome = run("convert", *arguments)
        assert (outcome.code, outcome.stdout) == (2, ""), arguments
        assert message in outcome.stderr
        assert "hint:" in outcome.stderr
        assert take_stock(tmp_path) == before


def test_a_target_inside_the_source_is_refused(run: Run, tmp_path: Path) -> None:
    """In an item, in a directory of shards."""
    for fixture in ("orbax/pytree", "qwen2-sharded"):
        source = tmp_path / fixture.replace("/", "-")
        shutil.copytree(FIXTURES / fixture, source)
        before = take_stock(source)
        outcome = run("convert", source, "-o", source / "new")
        assert outcome.code == 2
        assert "lies inside the source" in outcome.stderr
        assert take_stock(source) == before


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a..b",), "the name `a..b` is no place in a tree"),
        (('"a".b',), 'the name `"a".b` is no exact place in a tree: `a.b` would be'),
        (("a", "a.b"), "`a` is a leaf, so that `a.b` cannot stand below it"),
        (("a[0]", "a.b"), "`a[0]` stands in a list, and `a.b` makes a dict of the same place"),
        (("a[0]", "a[2]"), "`a[2]` is in a list that has no `a[1]`"),
        (("a.b", '"a.b"'), "would both be stored as `a.b`"),
        (("a/",), "`a/` would be stored as `a/`, which the store spells otherwise"),
        ((), "there is no leaf"),
    ],
)
def test_leaves_that_are_no_tree_are_refused(
    run: Run, tmp_path: Path, write: Write, names: tuple[str, ...], message: str
) -> None:
    """By name, before anything is written, and in a dry run too."""
    source = write(tmp_path / "m.safetensors", {name: np.ones(3, np.float32) for name in names})

    for options in ((), ("-o", tmp_path / "out")):
        outcome = run("convert", source, *options)
        assert outcome.code == 2
        assert message in outcome.stderr
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_dtype_that_orbax_lacks_is_refused(run: Run, tmp_path: Path) -> None:
    """Elements of less than a byte, by the name of the leaf."""
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header["small.w"] = {"dtype": "F4", "shape": [2], "data_offsets": [4, 5]}
    raw = json.dumps(header).encode()
    (tmp_path / "m.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(5))

    outcome = run("convert", tmp_path / "m.safetensors", "-o", tmp_path / "out", "--json")

    assert outcome.code == 2
    assert outcome.json["error"]["code"] == "Conversion"
    assert outcome.json["error"]["message"] == "`small.w` is F4 2, and Orbax has no arrays of F4"
    assert not (tmp_path / "out").exists()


def test_a_damaged_record_is_refused(run: Run, tmp_path: Path, write: Write) -> None:
    """What a file says of a tree is as little trusted as everything else in it."""
    leaves = {"a": np.ones(3, np.float32)}
    for number, text in enumerate(("", "[]", '{"schema":"tiecli.orbax/9"}')):
        source = write(tmp_path / f"{number}.safetensors", leaves, {"tiecli.orbax": text})
        outcome = run("convert", source, "-o", tmp_path / "out")
        assert outcome.code == 2
        assert "the metadata entry `tiecli.orbax`" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_python(tmp_path: Path) -> None:
    """The public function gives the report, and takes sizes in bytes."""
    report = tiecli.convert(ORBAX / "nodes", tiecli.Target(tmp_path / "out", sync=False), shard_nbytes=10_000)

    assert isinstance(report, tiecli.ConvertReport)
    assert (report.source_format, report.format, report.output) == ("orbax", "safetensors", tmp_path / "out")
    assert len(report.files) > 2
    assert tiecli.convert(ORBAX / "nodes").output is None


def test_main_gives_the_exit_code(tmp_path: Path) -> None:
    """The command as installed."""
    assert main(["convert", str(ORBAX / "pytree"), "-o", str(tmp_path / "out"), "--no-sync"]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
