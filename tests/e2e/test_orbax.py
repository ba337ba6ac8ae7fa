"""The commands on Orbax checkpoints of every layout: found, tied in both modes, untied, and nothing lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Outcome, Run
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Selection

FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
# A step of several trees needs to be told which; elements of less than a byte are refused, which test_refused shows.
ITEMS = {"items": "params"}
LAYOUTS = sorted(path.name for path in FIXTURES.iterdir() if path.name != "packed")
DOCUMENTS = ("_METADATA", "_sharding", "_strings.json")


def select(layout: str) -> tuple[str, ...]:
    """The options that name the item of a layout."""
    return ("--item", ITEMS[layout]) if layout in ITEMS else ()


def open_item(path: Path, layout: str) -> CheckpointReader:
    """Opens the item of a layout."""
    return open_reader(path, Selection(item=ITEMS.get(layout)))


def leaves_of(path: Path, layout: str) -> dict[str, tuple[str, bytes]]:
    """Every leaf by its spelling: its spec and its values."""
    found = {}
    with open_item(path, layout) as reader:
        for at, spec in reader.specs().items():
            values = bytearray(spec.nbytes)
            reader.read_into(at, 0, memoryview(values))
            found[str(at)] = (str(spec), bytes(values))
    return found


def documents_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON files of all items below a directory."""
    for file in sorted(path.rglob("*")):
        if file.name in DOCUMENTS or file.parent.name == "array_metadatas" or file.name == "_CHECKPOINT_METADATA":
            yield str(file.relative_to(path)), file.read_bytes()


def succeed(outcome: Outcome) -> Outcome:
    """A command that was to work."""
    assert outcome.code == 0, outcome.stderr
    return outcome


@pytest.mark.parametrize("mode", [None, "omit"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_found_tied_and_untied(run: Run, tmp_path: Path, layout: str, mode: str | None) -> None:
    """What `find --plan` writes, `tie --plan` ties and `untie` undoes, JSON files byte for byte."""
    source, plan, tied, back = FIXTURES / layout, tmp_path / "plan.json", tmp_path / "tied", tmp_path / "back"
    before = leaves_of(source, layout)

    succeed(run("find", source, *select(layout), "--plan", plan))
    modes = ("--mode", mode) if mode else ()
    report = succeed(run("tie", source, *select(layout), "--plan", plan, *modes, "-o", tied, "--json")).json
    succeed(run("untie", tied, *select(layout), "-o", back))

    ties = report["ties"] + report["state"]
    aliases = {tie["alias"] for tie in ties}
    shared = {tie["alias"] for tie in ties if tie["mode"] == "alias"}
    assert len(aliases) >= 2
    assert {tie["transform"] for tie in ties} >= {"same", "transpose"}
    with open_item(source, layout) as reader:
        spelled = {path.spelling: str(path) for path in reader.specs()}
    gone = {spelled[alias] for alias in aliases - shared}
    assert leaves_of(tied, layout) == {name: leaf for name, leaf in before.items() if name not in gone}
    turned = {tie["alias"] for tie in ties if tie["transform"] in ("same", "transpose")}
    assert shared == (set() if mode == "omit" else turned)
    assert leaves_of(back, layout) == before
    kept = dict(documents_of(back))
    assert kept
    assert kept == {name: raw for name, raw in documents_of(source) if name in kept}


def test_shared_bytes_are_stored_once(run: Run, tmp_path: Path) -> None:
    """In mode `alias` both names lead to the same bytes, and inspect says so."""
    source, tied = FIXTURES / "pytree", tmp_path / "tied"
    src, dst = "params.token_embedder.embedding", "params.decoder.logits_dense.kernel"

    outcome = succeed(run("tie", source, "--src", src, "--dst", dst, "--transform", "transpose", "-o", tied))
    shown = succeed(run("inspect", tied, "--json")).json

    assert "mode alias: both names stay" in outcome.stderr
    (tie,) = shown["ties"]
    assert (tie["alias"], tie["stored_twice"], tie["shares_bytes"]) == (dst, False, True)
    assert shown["totals"]["stored_nbytes"] < succeed(run("inspect", source, "--json")).json["totals"]["stored_nbytes"]
    with open_reader(tied) as reader:
        paths = {path.spelling: path for path in reader.specs()}
        assert reader.shares_bytes(paths[src], paths[dst])


def test_what_needs_new_bytes_is_omitted(run: Run, tmp_path: Path) -> None:
    """A cast cannot share bytes: the alias goes, the command says so, and untie makes it again."""
    source, work = FIXTURES / "dtypes", tmp_path / "work"
    shutil.copytree(source, work)
    request = ("--src", "float16.left", "--dst", "float16.right", "--transform", "neg | neg")

    refused = run("tie", work, "--src", "float16.left", "--dst", "float16.right", "--transform", "scale(2)")
    outcome = succeed(run("tie", work, *request, "-o", tmp_path / "tied"))

    assert refused.code == 2
    assert "is not `float16.left | scale(0x1p+1)`" in refused.stderr
    assert "mode" in outcome.stderr


def test_alias_mode_is_refused_where_it_cannot_be(run: Run, model: Path) -> None:
    """Safetensors has no second names."""
    request = ("--src", "model.embed_tokens.weight", "--dst", "lm_head.weight")

    outcome = run("tie", model, *request, "--mode", "alias")

    assert outcome.code == 2
    assert "--mode alias is for Orbax" in outcome.stderr


def test_links_share_the_data_files(run: Run, tmp_path: Path) -> None:
    """With --link the data files are those of the source, and untie needs no more of them."""
    source = FIXTURES / "pytree"
    shutil.copytree(source, tmp_path / "source")
    src, dst = "params.token_embedder.embedding", "drafter.token_embedder.embedding"

    succeed(run("tie", tmp_path / "source", "--src", src, "--dst", dst, "--link", "-o", tmp_path / "tied"))

    inodes = {file.stat().st_ino for file in (tmp_path / "source").rglob("*") if file.is_file()}
    linked = [file for file in (tmp_path / "tied").rglob("d/*") if file.stat().st_ino in inodes]
    assert linked
    assert leaves_of(tmp_path / "tied", "pytree") == leaves_of(source, "pytree")


def test_an_alias_that_comes_back_otherwise_is_refused(run: Run, tmp_path: Path) -> None:
    """Its canonical leaf is what it was, and yet what is made of it is not: nothing is written."""
    tied, src = tmp_path / "tied", "params.token_embedder.embedding"
    dst = "params.decoder.logits_dense.kernel"
    words = ("--src", src, "--dst", dst, "--transform", "transpose", "--mode", "omit")
    succeed(run("tie", FIXTURES / "pytree", *words, "-o", tied))
    tree = json.loads((tied / "_METADATA").read_text())
    tree["custom_metadata"]["tiecli"]["ties"][0]["alias_digest"] = "xxh3_128:" + "0" * 32
    (tied / "_METADATA").write_text(json.dumps(tree))

    outcome = run("untie", tied, "-o", tmp_path / "back")

    assert outcome.code == 2
    assert f"`{dst}` = {src} | transpose gives other bits here than where it was tied" in outcome.stderr
    assert not (tmp_path / "back").exists()
