"""Bad Orbax input, through every command: its own error, exit code 2, nothing written, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Run
from tests.e2e.orbax_damages import (
    DRAFT,
    EMBED,
    ENTRY,
    FIXTURES,
    HEAD,
    NEEDLESS,
    REFUSED,
    REFUSED_FILES,
    SIDE_FILES,
    UNREADABLE,
    UNREADABLE_FILES,
    Damage,
    describe,
    edit,
    find_values,
    flip_value,
    rewrite,
)
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.cli.entry import main
from tiecli.manifest import Original

SAME = ("--src", EMBED, "--dst", DRAFT)
TURNED = ("--src", EMBED, "--dst", HEAD, "--transform", "transpose")


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a checkpoint that is tied in mode `alias`, made once a layout."""
    made: dict[str, Path] = {}

    def make(layout: str) -> Path:
        if layout not in made:
            made[layout] = tmp_path_factory.mktemp(layout) / "tied"
            assert main(["tie", str(FIXTURES / layout), *SAME, "-o", str(made[layout]), "--no-sync"]) == 0
        return made[layout]

    return make


Tied = Callable[[str], Path]


def list_readers(path: Path, good: Path, out: Path) -> list[list[object]]:
    """Commands that read leaves, with the checkpoint in each place that takes one."""
    return [
        ["find", path],
        ["tie", path, *SAME],
        ["tie", path, *SAME, "-o", out],
        ["tie", path, *TURNED, "--mode", "omit", "-o", out],
        ["tie", path, *SAME, "--in-place"],
        ["diff", path, good],
        ["diff", good, path],
    ]


def list_untying(path: Path, out: Path) -> list[list[object]]:
    """Commands that end a tie, and so read its canonical leaf."""
    return [["untie", path], ["untie", path, "-o", out], ["untie", path, "--in-place"]]


def copy(source: Path, target: Path) -> Path:
    """Copies a checkpoint, links between its files kept."""
    shutil.copytree(source, target, copy_function=_copy_link())
    return target


def _copy_link() -> Callable[[str, str], str]:
    seen: dict[int, str] = {}

    def copy_one(source: str, target: str) -> str:
        inode = Path(source).stat().st_ino
        if inode in seen:
            os.link(seen[inode], target)
        else:
            shutil.copy2(source, target)
            seen[inode] = target
        return target

    return copy_one


def refuse(run: Run, command: list[object], damage: Damage, around: Path) -> None:
    """Runs a command that has to refuse, as text and as JSON, and leave everything as it is."""
    before = take_stock(around)
    shown, told = run(*command), run(*command, "--json")

    assert (shown.code, told.code) == (2, 2), (command, shown, told)
    error = told.json["error"]
    assert error["code"] == damage.code, error
    assert damage.words in error["message"], error
    assert error["hints"]
    assert shown.stdout == ""
    assert shown.stderr.startswith("error: ")
    assert damage.words in shown.stderr
    assert "hint: " in shown.stderr
    assert "Traceback" not in shown.stderr + told.stderr
    assert take_stock(around) == before


@pytest.mark.parametrize(
    ("layout", "name"),
    [*(("pytree", name) for name in REFUSED), *(("files-zarr2", name) for name in REFUSED_FILES)],
)
def test_damage_is_refused_by_every_command(run: Run, tmp_path: Path, tied: Tied, layout: str, name: str) -> None:
    """The same error whatever is asked: no leaf need be read to see it."""
    damage = (REFUSED if layout == "pytree" else REFUSED_FILES)[name]
    plain, bound = copy(FIXTURES / layout, tmp_path / "plain"), copy(tied(layout), tmp_path / "tied")
    damage.act(plain)
    damage.act(bound)

    for command in [["inspect", plain], *list_readers(plain, FIXTURES / layout, tmp_path / "out")]:
        refuse(run, command, damage, tmp_path)
    for command in [["inspect", bound], *list_untying(bound, tmp_path / "out")]:
        refuse(run, command, damage, tmp_path)


@pytest.mark.parametrize(
    ("layout", "name"),
    [*(("pytree", name) for name in UNREADABLE), *(("files-zarr2", name) for name in UNREADABLE_FILES)],
)
def test_what_does_not_decode_is_refused_where_it_is_read(
    run: Run, tmp_path: Path, tied: Tied, layout: str, name: str
) -> None:
    """The stored bytes of a leaf are there, and are no chunk: only who reads them can know."""
    damage = (UNREADABLE if layout == "pytree" else UNREADABLE_FILES)[name]
    plain, bound = copy(FIXTURES / layout, tmp_path / "plain"), copy(tied(layout), tmp_path / "tied")
    damage.act(plain)
    damage.act(bound)

    assert (run("inspect", plain).code, run("inspect", bound).code) == (0, 0)
    for command in list_readers(plain, FIXTURES / layout, tmp_path / "out"):
        refuse(run, command, damage, tmp_path)
    for command in list_untying(bound, tmp_path / "out"):
        refuse(run, command, damage, tmp_path)


@pytest.mark.parametrize("layout", ["pytree", "raw"])
def test_a_flipped_bit_that_decodes_is_another_value(run: Run, tmp_path: Path, layout: str) -> None:
    """Orbax stores no checksums of values: what was compared, or digested when it was tied, shows the change."""
    plain, bound = copy(FIXTURES / layout, tmp_path / "plain"), tmp_path / "tied"
    assert run("tie", plain, *SAME, "-o", bound).code == 0
    for item in (plain, bound):
        flip_value(item, f"{EMBED}/0.0", 700)

    drifted = Damage(lambda _: None, "DriftedPair", f"`{DRAFT}` is not `{EMBED}`: 1 of 512 elements differ")
    refuse(run, ["tie", plain, *SAME, "-o", tmp_path / "out"], drifted, tmp_path)
    assert run("diff", plain, FIXTURES / layout).code == 1
    untied = run("untie", bound, "-o", tmp_path / "out")
    assert untied.code == 0
    assert f"`{EMBED}` changed since `{DRAFT}` was tied to it" in untied.stderr


@pytest.mark.parametrize("name", NEEDLESS)
def test_files_that_orbax_can_do_without(run: Run, tmp_path: Path, name: str) -> None:
    """Without them everything works, and nothing is invented in their place."""
    plain = copy(FIXTURES / "pytree", tmp_path / "plain")
    NEEDLESS[name](plain)
    before = take_stock(plain)

    for command in (["inspect", plain], ["find", plain], ["diff", plain, FIXTURES / "pytree"]):
        assert run(*command).code == 0
    for mode in ("alias", "omit"):
        assert run("tie", plain, *TURNED, "--mode", mode, "-o", tmp_path / mode).code == 0
        assert run("untie", tmp_path / mode, "-o", tmp_path / f"{mode} back").code == 0
        after = take_stock(tmp_path / f"{mode} back")
        stored = ("manifest.ocdbt", "d/", "ocdbt.process_0")
        assert {at: it for at, it in after.items() if not at.startswith((*stored, "d"))} == {
            at: it for at, it in before.items() if not at.startswith((*stored, "d"))
        }
    assert take_stock(plain) == before


@pytest.mark.parametrize("name", SIDE_FILES)
def test_damaged_files_beside_the_leaves(run: Run, tmp_path: Path, tied: Tied, name: str) -> None:
    """What shows or rewrites them refuses, in a dry run too; who looks for ties needs those of the leaves not."""
    file, act = SIDE_FILES[name]
    plain, bound = copy(FIXTURES / "pytree", tmp_path / "plain"), copy(tied("pytree"), tmp_path / "tied")
    act(plain / file)
    act(bound / file)
    damage = Damage(act, "OrbaxMetadata", f"`{file}` is ")

    refused: list[list[object]] = [
        ["inspect", plain],
        ["tie", plain, *SAME],
        ["tie", plain, *TURNED, "-o", tmp_path / "out"],
    ]
    refused += [["inspect", bound], *list_untying(bound, tmp_path / "out")]
    for command in refused:
        refuse(run, command, damage, tmp_path)
    if file == "_CHECKPOINT_METADATA":
        refuse(run, ["find", plain], damage, tmp_path)
    else:
        assert run("find", plain).code == 0


def test_an_array_without_a_place_in_the_tree(run: Run, tmp_path: Path) -> None:
    """Orbax restores without it and says nothing; inspect tells, and what is rewritten still has it."""
    plain = copy(FIXTURES / "pytree", tmp_path / "plain")
    edit(plain / "_METADATA", lambda tree: tree["tree_metadata"].pop(ENTRY))

    shown = run("inspect", plain)
    assert "also  1 unnamed array\n" in shown.stdout
    assert run("inspect", plain, "--json").json["other_nodes"] == [{"path": f'"{EMBED}"', "kind": "unnamed array"}]
    for link in ((), ("--link",)):
        out = tmp_path / f"out{len(link)}"
        request = ("--src", HEAD, "--dst", DRAFT, "--transform", "transpose", "--mode", "omit")
        assert run("tie", plain, *request, *link, "-o", out).code == 0
        assert {f"{EMBED}/.zarray", f"{EMBED}/0.0"} <= find_values(out).keys()
        assert f"{DRAFT}/0.0" not in find_values(out)


def test_a_leaf_of_a_type_that_a_program_made_up(run: Run, tmp_path: Path) -> None:
    """It is shown as what the tree calls it, and kept."""
    plain = copy(FIXTURES / "pytree", tmp_path / "plain")
    edit(plain / "_METADATA", lambda tree: tree["tree_metadata"].update({ENTRY: describe(_keys(), "my.Array")}))

    assert "also  1 my.Array\n" in run("inspect", plain).stdout
    request = ("--src", HEAD, "--dst", DRAFT, "--transform", "transpose")
    assert run("tie", plain, *request, "--in-place").code == 0
    assert {f"{EMBED}/.zarray", f"{EMBED}/0.0"} <= find_values(plain).keys()
    assert json.loads((plain / "_METADATA").read_text())["tree_metadata"][ENTRY] == describe(_keys(), "my.Array")


def _keys() -> tuple[str, ...]:
    return tuple(EMBED.split("."))


def change_manifest(item: Path, change: Callable[[Any], object]) -> None:
    """Changes what tiecli wrote into the tree's metadata."""
    edit(item / "_METADATA", lambda tree: change(tree["custom_metadata"]["tiecli"]))


MANIFESTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "of the future": (lambda manifest: manifest.update(schema="tiecli.manifest/9"), "of version `tiecli.manifest/9`"),
    "without ties": (lambda manifest: manifest.pop("ties"), "manifest.ties: expected a list"),
    "of a strange transform": (lambda manifest: manifest["ties"][0].update(transform="twist"), "transform"),
    "that ties to a leaf that is gone": (
        lambda manifest: manifest["ties"][0].update(canonicals=[["nowhere"]]),
        f"says that `{DRAFT}` follows from `nowhere`, but stores no such leaf",
    ),
    "that ties a leaf to itself": (
        lambda manifest: manifest["ties"][0].update(alias=manifest["ties"][0]["canonicals"][0]),
        "cannot be tied to itself",
    ),
    "with a cut original": (
        lambda manifest: manifest["originals"]["_METADATA"].update(packed="abc"),
        "copy of an original text is damaged",
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_damaged_manifest(run: Run, tmp_path: Path, tied: Tied, name: str) -> None:
    """It is refused by whoever reads it, in words that name the place."""
    change, words = MANIFESTS[name]
    bound = copy(tied("pytree"), tmp_path / "tied")
    change_manifest(bound, change)
    damage = Damage(lambda _: None, "Manifest", words)

    commands = [["tie", bound, *TURNED], *list_untying(bound, tmp_path / "out")]
    if name != "with a cut original":
        commands += [["inspect", bound], ["find", bound], ["diff", bound, FIXTURES / "pytree"]]
    for command in commands:
        refuse(run, command, damage, tmp_path)


def test_a_cut_original_of_an_array(run: Run, tmp_path: Path, tied: Tied) -> None:
    """What the manifest keeps of the alias is no JSON."""
    bound = copy(tied("pytree"), tmp_path / "tied")
    packed = Original.pack("array", b"nope")
    original = {"part": "array", "nbytes": packed.nbytes, "packed": packed.packed, "written": ""}
    change_manifest(bound, lambda manifest: manifest["originals"].update({f"{DRAFT}/.zarray": original}))

    damage = Damage(lambda _: None, "OrbaxMetadata", f"`{DRAFT}/.zarray` is not JSON")
    for command in list_untying(bound, tmp_path / "out"):
        refuse(run, command, damage, tmp_path)


def test_an_alias_that_was_stored_anew_is_not_lost(run: Run, tmp_path: Path) -> None:
    """Somebody put the leaf back by hand, with other values: these are kept when the tie ends."""
    bound, back = tmp_path / "tied", tmp_path / "back"
    entry = "('drafter', 'token_embedder', 'embedding')"
    assert run("tie", FIXTURES / "pytree", *SAME, "--mode", "omit", "-o", bound).code == 0
    edit(bound / "_METADATA", lambda tree: tree["tree_metadata"].update({entry: describe(tuple(DRAFT.split(".")))}))
    values = find_values(bound)
    anew = {f"{DRAFT}/.zarray": values[f"{EMBED}/.zarray"], f"{DRAFT}/0.0": values[f"{HEAD}/0.0"]}
    rewrite(bound, lambda stored: stored.update(anew))

    untied = run("untie", bound, "-o", back)

    assert untied.code == 0
    assert f"`{DRAFT}` was stored anew since it was tied; it keeps the values it has" in untied.stderr
    stored = find_values(back)
    assert stored[f"{DRAFT}/0.0"] == stored[f"{HEAD}/0.0"] != stored[f"{EMBED}/0.0"]
    assert run("inspect", back, "--json").json["ties"] == []
    assert run("diff", bound, back).code == 1


def test_the_damages_are_damages(tmp_path: Path) -> None:
    """Each act changes something, or the tests above would prove nothing."""
    acts = {f"db {name}": ("pytree", damage.act) for name, damage in (REFUSED | UNREADABLE).items()}
    acts |= {f"files {name}": ("files-zarr2", it.act) for name, it in (REFUSED_FILES | UNREADABLE_FILES).items()}
    for name, (layout, act) in acts.items():
        copied = copy(FIXTURES / layout, tmp_path / name / "c")
        before = take_stock(copied.parent)
        act(copied)
        assert take_stock(copied.parent) != before, name


LATEST, EARLIER = "step_00000100", "step_00000090"
TEMPORARY = f"{LATEST}.orbax-checkpoint-tmp"


def empty(directory: Path) -> None:
    """Removes all that a directory holds."""
    shutil.rmtree(directory)
    directory.mkdir()


def forget_commit(root: Path) -> None:
    """Leaves the latest step as a save in place does that is killed before its commit."""
    (root / LATEST / "commit_success.txt").unlink()
    edit(root / LATEST / "_CHECKPOINT_METADATA", lambda step: step.update(commit_timestamp_nsecs=None))


# What is done to a root of two steps; what it is called then; what each command says of it.
UNFINISHED: dict[str, tuple[Callable[[Path], object], str]] = {
    "temporary": (lambda root: (root / LATEST).rename(root / TEMPORARY), "the save of step 100 never ended"),
    "empty": (lambda root: empty(root / LATEST), f"{LATEST}` holds no item"),
    "without items": (lambda root: shutil.rmtree(root / LATEST / "default"), f"{LATEST}` holds no item"),
    "of an empty item": (
        lambda root: empty(root / LATEST / "default"),
        "holds only empty items: `default`",
    ),
    "without a tree": (lambda root: (root / LATEST / "default/_METADATA").unlink(), "but no `_METADATA`"),
    "without a database": (lambda root: (root / LATEST / "default/manifest.ocdbt").unlink(), "no `manifest.ocdbt`"),
    "without a commit": (forget_commit, f"{LATEST}` was never committed"),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_step_is_refused_by_its_number(run: Run, tmp_path: Path, name: str) -> None:
    """Named, it is refused by every command; as the latest, it is passed over, and who rewrites is told."""
    act, words = UNFINISHED[name]
    root, out = copy(FIXTURES / "named-steps", tmp_path / "root"), tmp_path / "out"
    act(root)
    damage = Damage(act, "UnfinishedCheckpoint", words)
    tie = ("--src", "wte.embedding", "--dst", "lm_head.kernel", "--transform", "transpose")

    step = ("--step", "100")
    for command in [
        ["inspect", root, *step],
        ["find", root, *step],
        ["tie", root, *tie, *step, "-o", out],
        ["tie", root, *tie, *step, "--in-place"],
        ["untie", root, *step, "-o", out],
    ]:
        refuse(run, command, damage, tmp_path)
    assert "(step 90, item default; " in run("inspect", root).stdout
    written = run("tie", root, *tie, "-o", out)
    assert written.code == 0
    assert [at.name for at in out.iterdir()] == [EARLIER]
    if name != "temporary":
        assert "note: unfinished and passed over: step 100\n" in written.stderr


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (TEMPORARY, f"{TEMPORARY}` is a save that never ended"),
        (f"{TEMPORARY}/default", f"{TEMPORARY}/default` is a save that never ended"),
        (LATEST, f"{TEMPORARY}` is a save that never ended"),
    ],
)
def test_a_temporary_directory_is_refused_by_its_path(run: Run, tmp_path: Path, what: str, words: str) -> None:
    """So is the name that it would have got."""
    root = copy(FIXTURES / "named-steps", tmp_path / "root")
    (root / LATEST).rename(root / TEMPORARY)
    damage = Damage(lambda _: None, "UnfinishedCheckpoint", words)

    for command in [["inspect", root / what], ["diff", root / EARLIER, root / what], ["diff", root / what, root]]:
        refuse(run, command, damage, tmp_path)


def test_a_root_where_nothing_was_ever_finished(run: Run, tmp_path: Path) -> None:
    """Nothing is left to take instead."""
    root = copy(FIXTURES / "named-steps", tmp_path / "root")
    shutil.rmtree(root / EARLIER)
    (root / LATEST / "default/_METADATA").unlink()

    refuse(run, ["inspect", root], Damage(lambda _: None, "UnfinishedCheckpoint", "holds no finished step"), tmp_path)


@pytest.mark.parametrize(
    ("layout", "options", "words", "hint"),
    [
        ("named-steps", ("--step", "7"), "has no step 7, but 90, 100", "--step 100"),
        ("named-steps", ("--item", "params"), "has no item `params`, but `default` (a tree)", "--item default"),
        ("items", (), "has several items: `opt_state`, `params` (trees), `cfg` (JSON)", "--item params"),
        ("items", ("--item", "state"), "has no item `state`, but `opt_state`", "--item params"),
        ("pytree", ("--item", "params"), "is one item already", "Leave out"),
        ("pytree", ("--step", "0"), "is one item already", "Leave out"),
        ("items/2/params", ("--step", "3"), "is one item already", "Leave out"),
    ],
)
def test_a_part_that_is_not_there(
    run: Run, tmp_path: Path, layout: str, options: tuple[str, ...], words: str, hint: str
) -> None:
    """The parts that are there are told, and the option that takes one."""
    damage = Damage(lambda _: None, "PartNotFound", words)
    path, out = FIXTURES / layout, tmp_path / "out"
    commands: list[list[object]] = [["inspect", path], ["find", path], ["tie", path, *SAME], ["untie", path]]

    for command in [*commands, ["tie", path, *SAME, "-o", out], ["untie", path, "-o", out]]:
        refuse(run, [*command, *options], damage, tmp_path)
        assert hint in run(*command, *options).stderr


@pytest.mark.parametrize("path", ["items/2/cfg", "items/2/cfg/metadata"])
def test_an_item_without_leaves(run: Run, tmp_path: Path, path: str) -> None:
    """A JSON item is no tree, and the trees beside it are told."""
    damage = Damage(lambda _: None, "UnsupportedCheckpoint", "is a JSON item, which holds no leaves")

    refuse(run, ["inspect", FIXTURES / path], damage, tmp_path)
    refuse(run, ["untie", FIXTURES / "items", "--item", "cfg"], damage, tmp_path)
