"""Items, steps and roots of Orbax: what a command given each of them writes, replaces, and leaves alone."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Outcome, Run
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import Selection

FIXTURES = Path(__file__).parents[2] / "fixtures" / "orbax"
PARAMS = ("--src", "embed.embedding", "--dst", "tied.embedding")
MOMENTS = ("--src", "[1][0].mu.embed.embedding", "--dst", "[1][0].mu.tied.embedding")
TURNED = ("--src", "embed.embedding", "--dst", "lm_head.kernel", "--transform", "transpose")
MODEL = ("--src", "wte.embedding", "--dst", "lm_head.kernel", "--transform", "transpose")
LATEST, EARLIER = "step_00000100", "step_00000090"


def succeed(outcome: Outcome) -> Outcome:
    """A command that was to work."""
    assert outcome.code == 0, outcome.stderr
    return outcome


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """A root with one step: two trees, a JSON item, metadata at every level, and files of somebody else's."""
    root = tmp_path / "items"
    shutil.copytree(FIXTURES / "items", root)
    (root / "notes.txt").write_text("about all steps")
    (root / "2" / "notes.txt").write_text("about the step")
    (root / "2" / "params" / "notes.txt").write_text("about the item")
    (root / "2" / "cfg").chmod(0o555)
    return root


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """A root with two steps of one item each."""
    root = tmp_path / "steps"
    shutil.copytree(FIXTURES / "named-steps", root)
    return root


def values_of(path: Path, item: str | None = None) -> dict[str, bytes]:
    """The values of all leaves of an item."""
    found = {}
    with open_reader(path, Selection(item=item)) as reader:
        for at, spec in reader.specs().items():
            raw = bytearray(spec.nbytes)
            reader.read_into(at, 0, memoryview(raw))
            found[at.spelling] = bytes(raw)
    return found


def ties_in_step(step: Path) -> dict[str, list[str]]:
    """The aliases that a step's metadata tells of, by item."""
    custom: Any = json.loads((step / "_CHECKPOINT_METADATA").read_text())["custom_metadata"] or {}
    told = custom.get("tiecli", {})
    return {item: [".".join(map(str, tie["alias"])) for tie in manifest["ties"]] for item, manifest in told.items()}


def read_documents(checkpoint: Path) -> dict[str, bytes]:
    """All JSON files, whatever the store looks like."""
    names = ("_METADATA", "_sharding", "_CHECKPOINT_METADATA", "_ROOT_METADATA", "metadata", "process_0", "notes.txt")
    files = (file for file in checkpoint.rglob("*") if file.is_file() and file.name in names)
    return {str(file.relative_to(checkpoint)): file.read_bytes() for file in files if file.parent.name[:5] != "ocdbt"}


def inodes_of(checkpoint: Path) -> dict[str, int]:
    """Which file is which."""
    return {str(file.relative_to(checkpoint)): file.stat().st_ino for file in checkpoint.rglob("*") if file.is_file()}


def test_a_root_becomes_a_root_of_the_one_step(run: Run, steps: Path, tmp_path: Path) -> None:
    """Other steps are left out, and that is said; the step goes by its name."""
    out, back = tmp_path / "out", tmp_path / "back"
    before = take_stock(steps)

    tied = succeed(run("tie", steps, *MODEL, "-o", out))
    untied = succeed(run("untie", out, "-o", back))

    assert f"note: only step 100 is written; `{steps}` holds more\n" in tied.stderr
    assert "only step" not in untied.stderr
    assert [at.name for at in out.iterdir()] == [at.name for at in back.iterdir()] == [LATEST]
    assert "(step 100, item default; " in run("inspect", out).stdout
    assert ties_in_step(out / LATEST) == {"default": ["lm_head.kernel"]}
    assert values_of(back) == values_of(out) == values_of(steps)
    assert read_documents(back / LATEST) == read_documents(steps / LATEST)
    assert take_stock(steps) == before


def test_a_root_and_a_named_step(run: Run, steps: Path, tmp_path: Path) -> None:
    """`--step` takes another than the latest."""
    out = tmp_path / "out"

    told = succeed(run("tie", steps, *MODEL, "--step", 90, "-o", out))

    assert "note: only step 90 is written" in told.stderr
    assert [at.name for at in out.iterdir()] == [EARLIER]
    assert values_of(out) == values_of(steps / EARLIER) != values_of(steps)


def test_what_a_root_says_of_all_steps_goes_along(run: Run, items: Path, tmp_path: Path) -> None:
    """Its metadata, and the step with all of its items; what else lies beside the steps stays behind."""
    out = tmp_path / "out"

    succeed(run("tie", items, *PARAMS, "--item", "params", "-o", out))

    assert sorted(at.name for at in out.iterdir()) == ["2", "metadata"]
    assert (out / "metadata/_ROOT_METADATA").read_bytes() == (items / "metadata/_ROOT_METADATA").read_bytes()
    stock, source = take_stock(out / "2"), take_stock(items / "2")
    others = [name for name in source if name.startswith(("opt_state", "cfg", "notes", "params/notes", "commit"))]
    assert len(others) > 10
    assert {name: stock[name] for name in others} == {name: source[name] for name in others}


@pytest.mark.parametrize("level", ["2", "2/params"])
def test_a_step_or_an_item_becomes_one(run: Run, items: Path, tmp_path: Path, level: str) -> None:
    """What is given is what is made: the item alone has no step whose metadata could follow."""
    out, back = tmp_path / "out", tmp_path / "back"
    option = () if level == "2/params" else ("--item", "params")
    before = take_stock(items)

    succeed(run("tie", items / level, *PARAMS, *option, "-o", out))
    succeed(run("untie", out, *option, "-o", back))

    assert (out / "_METADATA").exists() == (level == "2/params")
    assert (out / "_CHECKPOINT_METADATA").exists() == (level == "2")
    if level == "2":
        assert ties_in_step(out) == {"params": ["tied.embedding"]}
    assert read_documents(back) == read_documents(items / level)
    assert values_of(back, *option[1:]) == values_of(items / level, *option[1:])
    assert take_stock(items) == before


def test_an_item_that_is_its_own_step(run: Run, tmp_path: Path) -> None:
    """What a checkpointer writes that knows no steps has the metadata of a step beside that of the tree."""
    out, back = tmp_path / "out", tmp_path / "back"
    pair = ("--src", "params.token_embedder.embedding", "--dst", "drafter.token_embedder.embedding")

    succeed(run("tie", FIXTURES / "pytree", *pair, "-o", out))
    succeed(run("untie", out, "-o", back))

    assert ties_in_step(out) == {"": ["drafter.token_embedder.embedding"]}
    assert read_documents(back) == read_documents(FIXTURES / "pytree")


@pytest.mark.parametrize("level", ["", "2", "2/params"])
def test_in_place_changes_one_item_and_its_step(run: Run, items: Path, level: str) -> None:
    """Whatever is given: other items, other files and the root keep their very inodes."""
    option = () if level == "2/params" else ("--item", "params")
    before, inodes, documents = take_stock(items), inodes_of(items), read_documents(items)
    values = values_of(items, "params")

    succeed(run("tie", items / level, *PARAMS, *option, "--in-place"))

    assert ties_in_step(items / "2") == {"params": ["tied.embedding"]}
    after, now = take_stock(items), inodes_of(items)
    changed = ("2/params/_METADATA", "2/_CHECKPOINT_METADATA", "2/params/manifest.ocdbt", "2/params/_sharding")
    kept = [
        name
        for name in inodes
        if name not in changed and not name.startswith(("2/params/d/", "2/params/ocdbt.", "2/params/array_m"))
    ]
    assert len(kept) > 10
    assert {name: now.get(name) for name in kept} == {name: inodes[name] for name in kept}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["2/cfg"] == before["2/cfg"]
    assert sorted(at.name for at in items.iterdir()) == ["2", "metadata", "notes.txt"]

    succeed(run("untie", items / level, *option, "--in-place"))

    assert ties_in_step(items / "2") == {}
    assert read_documents(items) == documents
    assert values_of(items, "params") == values


def test_in_place_leaves_other_steps_alone(run: Run, steps: Path) -> None:
    """Of a root, the latest step changes, or the one that is named; which, is said."""
    before = take_stock(steps / EARLIER)

    told = succeed(run("tie", steps, *MODEL, "--in-place"))

    assert "note: only step 100 is changed\n" in told.stderr
    assert take_stock(steps / EARLIER) == before
    assert "note: only step 90 is changed\n" in succeed(run("tie", steps, *MODEL, "--step", 90, "--in-place")).stderr
    assert ties_in_step(steps / EARLIER) == ties_in_step(steps / LATEST) == {"default": ["lm_head.kernel"]}
    succeed(run("untie", steps, "--step", 90, "--in-place"))
    assert (ties_in_step(steps / EARLIER), ties_in_step(steps / LATEST)) == ({}, {"default": ["lm_head.kernel"]})


BOTH = [("params", PARAMS), ("opt_state", MOMENTS)]
ORDERS = list(itertools.product(itertools.permutations(BOTH), repeat=2))
ORDER_NAMES = [f"{first[0][0]} tied first, {then[0][0]} untied first" for first, then in ORDERS]


@pytest.mark.parametrize("mode", ["alias", "omit"])
@pytest.mark.parametrize(("first", "then"), ORDERS, ids=ORDER_NAMES)
def test_two_items_tied_and_untied_in_any_order(
    run: Run, items: Path, first: tuple[Any, ...], then: tuple[Any, ...], mode: str
) -> None:
    """The step tells of the ties of both, and what each command changed comes back byte for byte."""
    documents = read_documents(items)

    for item, pair in first:
        succeed(run("tie", items, *pair, "--item", item, "--mode", mode, "--in-place"))
    assert ties_in_step(items / "2") == {"params": ["tied.embedding"], "opt_state": ["1.0.mu.tied.embedding"]}
    left = dict(first)
    for item, _ in then:
        succeed(run("untie", items / "2" / item, "--in-place"))
        del left[item]
        assert set(ties_in_step(items / "2")) == set(left)

    assert read_documents(items) == documents


def test_one_item_tied_twice(run: Run, items: Path) -> None:
    """A second tie of an item joins the first in the step's metadata, and goes alone."""
    documents = read_documents(items)
    for pair in (PARAMS, TURNED):
        succeed(run("tie", items, *pair, "--item", "params", "--in-place"))
    assert ties_in_step(items / "2") == {"params": ["tied.embedding", "lm_head.kernel"]}

    succeed(run("untie", items, "--dst", "tied.embedding", "--item", "params", "--in-place"))
    assert ties_in_step(items / "2") == {"params": ["lm_head.kernel"]}
    succeed(run("untie", items, "--item", "params", "--in-place"))

    assert read_documents(items) == documents


@pytest.mark.parametrize("custom", ["null", "{}", '{"tiecli-notes": [1]}', "absent"])
@pytest.mark.parametrize(("first", "then"), ORDERS, ids=ORDER_NAMES)
def test_step_metadata_comes_back_however_it_was(
    run: Run, items: Path, first: tuple[Any, ...], then: tuple[Any, ...], custom: str
) -> None:
    """Not only as current Orbax writes it."""
    file = items / "2/_CHECKPOINT_METADATA"
    document = json.loads(file.read_text())
    del document["custom_metadata"]
    text = json.dumps(document, separators=(",", ":"))
    file.write_text(text if custom == "absent" else f'{text[:-1]},"custom_metadata":{custom}}}')
    before = file.read_bytes()

    for item, pair in first:
        succeed(run("tie", items, *pair, "--item", item, "--in-place"))
    for item, _ in then:
        succeed(run("untie", items, "--item", item, "--in-place"))

    assert file.read_bytes() == before


def test_a_step_edited_since_it_was_tied_keeps_the_edit(run: Run, items: Path) -> None:
    """A person's note in the step's metadata survives the untie, and that is said."""
    file = items / "2/_CHECKPOINT_METADATA"
    succeed(run("tie", items, *PARAMS, "--item", "params", "--in-place"))
    document = json.loads(file.read_text())
    document["custom_metadata"]["reviewed"] = True
    file.write_text(json.dumps(document))

    told = succeed(run("untie", items, "--item", "params", "--in-place"))

    assert "`_CHECKPOINT_METADATA` was changed by others since it was tied" in told.stderr
    custom = json.loads(file.read_text())["custom_metadata"]
    assert custom["reviewed"] is True
    assert "tiecli" not in custom


@pytest.mark.parametrize("how", ["copy", "link"])
def test_hard_links_elsewhere_are_not_written_through(run: Run, items: Path, tmp_path: Path, how: str) -> None:
    """A snapshot made with `cp -al` stays what it was."""
    snapshot = tmp_path / "snapshot"
    shutil.copytree(items, snapshot, copy_function=os.link)
    before = take_stock(snapshot)

    link = ("--link",) if how == "link" else ()
    succeed(run("tie", items, *PARAMS, "--item", "params", *link, "--in-place"))
    succeed(run("untie", items, "--item", "params", *link, "--in-place"))

    assert take_stock(snapshot) == before
    assert (items / "2/opt_state/_METADATA").samefile(snapshot / "2/opt_state/_METADATA")
    assert not (items / "2/params/_METADATA").samefile(snapshot / "2/params/_METADATA")


@pytest.mark.parametrize("link", ["relative", "absolute"])
def test_a_step_behind_a_symbolic_link(run: Run, steps: Path, tmp_path: Path, link: str) -> None:
    """As storage with two tiers makes it: the link stays, what it leads to is replaced; a new root has no link."""
    elsewhere, out = tmp_path / "elsewhere" / "100", tmp_path / "out"
    elsewhere.parent.mkdir()
    (steps / LATEST).rename(elsewhere)
    (steps / LATEST).symlink_to(elsewhere if link == "absolute" else Path("../elsewhere/100"))
    values, before = values_of(steps), take_stock(tmp_path)

    succeed(run("tie", steps, *MODEL, "-o", out))
    assert not (out / LATEST).is_symlink()
    assert values_of(out) == values
    shutil.rmtree(out)
    assert take_stock(tmp_path) == before

    succeed(run("tie", steps, *MODEL, "--in-place"))
    assert (steps / LATEST).is_symlink()
    assert ties_in_step(elsewhere) == {"default": ["lm_head.kernel"]}
    assert values_of(steps) == values
    assert [at.name for at in elsewhere.parent.iterdir()] == ["100"]


def test_a_symbolic_link_to_a_file_is_not_replaced_in_place(run: Run, steps: Path, tmp_path: Path) -> None:
    """Others may share what it leads to."""
    file, kept = steps / LATEST / "default/_METADATA", tmp_path / "kept"
    file.rename(kept)
    file.symlink_to(kept)
    before = take_stock(tmp_path)

    refused = run("tie", steps, *MODEL, "--in-place")

    assert refused.code == 2
    assert "symbolic link" in refused.stderr
    assert take_stock(tmp_path) == before
    succeed(run("tie", steps, *MODEL, "-o", tmp_path / "out"))
    assert not (tmp_path / "out" / LATEST / "default/_METADATA").is_symlink()
    assert kept.read_bytes() == before["kept"][0]  # type: ignore[index]


@pytest.mark.parametrize("act", ["-o", "--in-place"])
def test_modes_are_kept(run: Run, items: Path, tmp_path: Path, act: str) -> None:
    """Those of directories, of files that stay, and of files that are written anew."""
    for path in sorted(items.rglob("*"), reverse=True):
        path.chmod(0o540 if path.is_dir() else 0o440)
    (items / "2").chmod(0o750)
    (items / "2/params/notes.txt").chmod(0o444)
    before = {name: it[1] for name, it in take_stock(items / "2").items()}  # type: ignore[index]

    out = tmp_path / "out"
    succeed(run("tie", items / "2", *TURNED, "--item", "params", *([act] if act == "--in-place" else [act, out])))

    made = items / "2" if act == "--in-place" else out
    after = {name: it[1] for name, it in take_stock(made).items()}  # type: ignore[index]
    assert {name: after[name] for name in before if name in after} == {
        name: mode for name, mode in before.items() if name in after
    }
    new = {mode & 0o777 for name, mode in after.items() if name not in before and (made / name).is_file()}
    assert new == {0o440}


@pytest.mark.parametrize("level", ["", LATEST, f"{LATEST}/default"])
@pytest.mark.parametrize("where", ["taken", "itself", "inside", "inside a step", "dangling", "nowhere"])
def test_targets_that_cannot_be_meant(run: Run, steps: Path, tmp_path: Path, level: str, where: str) -> None:
    """Nothing is read, nothing is written."""
    source = steps / level
    (tmp_path / "taken").mkdir()
    (tmp_path / "dangling").symlink_to("nothing")
    target, code = {
        "taken": (tmp_path / "taken", "TargetExists"),
        "itself": (source, "TargetIsSource"),
        "inside": (source / "out", "TargetIsSource"),
        "inside a step": (steps / LATEST / "default" / "d" / "out", "TargetIsSource"),
        "dangling": (tmp_path / "dangling", "TargetExists"),
        "nowhere": (tmp_path / "no" / "out", "WriteFailed"),
    }[where]
    before = take_stock(tmp_path)

    refused = run("tie", source, *MODEL, "-o", target, "--json")

    assert refused.code == 2
    assert refused.json["error"]["code"] == code
    assert take_stock(tmp_path) == before


def test_an_item_is_not_written_into_its_own_step(run: Run, steps: Path) -> None:
    """Orbax would take it for an item of the step, and refuse to restore that; beside the steps there is room."""
    before = take_stock(steps)

    refused = run("tie", steps / LATEST / "default", *MODEL, "-o", steps / LATEST / "tied")

    assert refused.code == 2
    assert f"lies inside the source `{steps / LATEST}`" in refused.stderr
    assert take_stock(steps) == before
    succeed(run("tie", steps / LATEST, *MODEL, "-o", steps / "step_00000101"))
    assert "(step 101, item default; " in run("inspect", steps).stdout


def test_values_survive_where_the_step_lost_its_metadata(run: Run, items: Path) -> None:
    """Then only the item carries the ties."""
    (items / "2/_CHECKPOINT_METADATA").unlink()
    documents = read_documents(items)

    succeed(run("tie", items, *PARAMS, "--item", "params", "--in-place"))
    assert [tie["alias"] for tie in run("inspect", items, "--item", "params", "--json").json["ties"]] == [
        "tied.embedding"
    ]
    succeed(run("untie", items, "--item", "params", "--in-place"))

    assert read_documents(items) == documents


@pytest.mark.parametrize("told", ["nothing", '{"params": 3}', '{"../..": {}, "params": {"ties": []}}', '{"": {}}'])
def test_what_the_step_tells_may_be_damaged(run: Run, items: Path, told: str) -> None:
    """The item's own manifest counts; what a step tells of the others goes along as it is."""
    file = items / "2/_CHECKPOINT_METADATA"
    document = json.loads(file.read_text())
    document["custom_metadata"] = {"tiecli": "nothing" if told == "nothing" else json.loads(told)}
    file.write_text(json.dumps(document))

    succeed(run("tie", items, *MOMENTS, "--item", "opt_state", "--in-place"))
    held = json.loads(file.read_text())["custom_metadata"]["tiecli"]
    assert held.pop("opt_state")["ties"]
    assert held == ({} if told == "nothing" else json.loads(told))
    succeed(run("untie", items, "--item", "opt_state", "--in-place"))


@pytest.mark.parametrize("act", ["-o", "--in-place"])
def test_files_of_others_between_chunks_stay(run: Run, tmp_path: Path, act: str) -> None:
    """Where every chunk is a file, the directory of a leaf may hold more; without that it goes with its leaf."""
    source, out = tmp_path / "files", tmp_path / "out"
    shutil.copytree(FIXTURES / "files-zarr2", source)
    embed, draft = "params.token_embedder.embedding", "drafter.token_embedder.embedding"
    head = "params.decoder.logits_dense.kernel"
    for leaf in (embed, draft):
        (source / leaf / "notes.txt").write_text(leaf)
    pairs = ("--src", embed, "--dst", draft, "--src", embed, "--dst", head)
    command = ("tie", source, *pairs, "--transform", "same", "--transform", "transpose", "--mode", "omit")

    succeed(run(*command, *([act] if act == "--in-place" else [act, out])))

    made = source if act == "--in-place" else out
    assert sorted(at.name for at in (made / embed).iterdir()) == [".zarray", "0.0", "notes.txt"]
    assert [at.name for at in (made / draft).iterdir()] == ["notes.txt"]
    assert not (made / head).exists()
    succeed(run("untie", made, "--in-place"))
    assert values_of(made) == values_of(FIXTURES / "files-zarr2")
    assert read_documents(made).keys() >= read_documents(FIXTURES / "files-zarr2").keys()
    assert (made / draft / "notes.txt").read_text() == draft


@pytest.mark.parametrize("file", ["params/_METADATA", "params/manifest.ocdbt", "params/d/*", "_CHECKPOINT_METADATA"])
def test_any_file_stands_for_what_it_belongs_to(run: Run, items: Path, file: str) -> None:
    """In place too: the item is replaced, or the step."""
    (path,) = (items / "2").glob(file)
    option = ("--item", "params") if file == "_CHECKPOINT_METADATA" else ()

    told = succeed(run("tie", path, *PARAMS, *option, "--in-place"))

    assert told.stderr.endswith(f"wrote {items / '2' if option else items / '2/params'}\n")
    assert ties_in_step(items / "2") == {"params": ["tied.embedding"]}


@pytest.mark.parametrize("select", [(), ("--dst", "params.decoder.logits_dense.kernel")])
def test_a_copy_that_made_files_of_links_is_untied_too(run: Run, tmp_path: Path, select: tuple[str, ...]) -> None:
    """Where every chunk is a file, `cp -r` gives each alias bytes of its own; the tie is there nevertheless."""
    embed, head = "params.token_embedder.embedding", "params.decoder.logits_dense.kernel"
    source, tied, copied, back = FIXTURES / "files-zarr2", tmp_path / "tied", tmp_path / "copied", tmp_path / "back"
    succeed(run("tie", source, "--src", embed, "--dst", head, "--transform", "transpose", "-o", tied))
    shutil.copytree(tied, copied)

    assert (tied / head / "0.0").samefile(tied / embed / "0.0")
    assert run("inspect", copied, "--json").json["ties"][0]["stored_twice"]
    succeed(run("untie", copied, *select, "-o", back))

    assert take_stock(back).keys() == take_stock(source).keys()
    assert read_documents(back) == read_documents(source)
    assert (back / head / ".zarray").read_bytes() == (source / head / ".zarray").read_bytes()
    assert values_of(back) == values_of(source)


def test_another_step_is_not_the_original(run: Run, steps: Path, tmp_path: Path) -> None:
    """The step that is verified is meant in the original too; where it has none, no other takes its place."""
    succeed(run("tie", steps, *MODEL, "--step", "90", "-o", tmp_path / "tied"))
    verify = ("verify", tmp_path / "tied", "--step", "90", "--original")
    succeed(run(*verify, steps))
    succeed(run(*verify, steps / EARLIER))
    shutil.rmtree(steps / EARLIER)

    outcome = run(*verify, steps)
    assert outcome.code == 2
    assert "has no step 90" in outcome.stderr
