"""What `tie` and `untie` make of every layout, stock Orbax restores in every way, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tiecli
from tests.peer.orbax_restores import Attempt, Leaves, OrbaxRefusedError, Part, Restorer, Resuming, list_parts
from tests.peer.orbax_ties import CASES, Case, can_restore, find_part
from tiecli.checkpoints.protocol import Selection
from tiecli.plan import Mode

every_case = pytest.mark.parametrize("case", CASES, ids=str)
copied_and_linked = pytest.mark.parametrize("link", [False, True], ids=["copy", "link"])
both_modes = pytest.mark.parametrize("mode", ["omit", "alias"])

ASKED = Attempt("arguments", "found")
"""Where one way to restore is enough: it takes no target, and restores on any devices."""

FEW = (ASKED, Attempt("pytree", "sharded"), Attempt("v1", "numpy"), Attempt("manager", "numpy"))
"""Where the store lies otherwise, and holds the same."""


def tie(case: Case, out: Path, mode: Mode, link: bool = False) -> tuple[Part, frozenset[str]]:
    """Ties all that a case ties; gives the item that was written, and the aliases."""
    target = tiecli.Target(out, kept_files="hardlink" if link else "copy", sync=False)
    tiecli.tie(case.root, case.requests, target, mode=mode, item=case.item)
    with tiecli.open_reader(out, Selection(item=case.item)) as reader:
        manifest = reader.manifest()
    assert manifest is not None
    return find_part(out, case.item), frozenset(str(tie.alias) for tie in manifest.ties)


def list_attempts(case: Case, part: Part, few: bool = False) -> list[Attempt]:
    """Lists how to restore what was made of a layout: in every way that works for the layout itself, or in a few."""
    attempts = [attempt for attempt in part.attempts if can_restore(case.layout, attempt)]
    return [attempt for attempt in attempts if attempt in FEW] if few else attempts


def list_values(leaves: Leaves) -> Leaves:
    """Leaves out nodes without leaves, which come and go with the last leaf below them."""
    return {path: leaf for path, leaf in leaves.items() if leaf.dtype not in ("None", "empty")}


@every_case
def test_orbax_restores_the_layout_itself(case: Case, restorer: Restorer) -> None:
    """The ground that the other tests stand on: every way gives the same values, and refuses only where listed."""
    refused = []
    restored: dict[str, Leaves] = {}
    for attempt in case.part.attempts:
        try:
            restored[str(attempt)] = restorer.restore(case.part, attempt)
        except OrbaxRefusedError:
            refused.append(attempt)

    assert refused == [attempt for attempt in case.part.attempts if not can_restore(case.layout, attempt)]
    first, asked = restored["pytree, numpy"], restored.pop("arguments, found")
    assert [name for name, leaves in restored.items() if leaves != first] == []
    assert asked.keys() == first.keys()
    assert [path for path, leaf in asked.items() if leaf != first[path] and leaf.dtype == first[path].dtype] == []


@copied_and_linked
@every_case
def test_omitted_aliases_are_gone_and_all_else_is_there(
    case: Case, link: bool, restorer: Restorer, tmp_path: Path
) -> None:
    """`--mode omit`: with a target that has no alias, and without any."""
    tied, aliases = tie(case, tmp_path / "tied", "omit", link)

    attempts = list_attempts(case, tied, few=link)
    assert attempts
    for attempt in attempts:
        before, after = restorer.restore(case.part, attempt), restorer.restore(tied, attempt)
        expected = {path: leaf for path, leaf in before.items() if path not in aliases}
        assert aliases < before.keys()
        assert list_values(after) == list_values(expected), attempt


@copied_and_linked
@every_case
def test_a_full_target_restores_every_alias(case: Case, link: bool, restorer: Restorer, tmp_path: Path) -> None:
    """`--mode alias`: whoever loads the checkpoint with an unchanged program sees no difference."""
    tied, aliases = tie(case, tmp_path / "tied", "alias", link)

    attempts = list_attempts(case, tied, few=link)
    assert attempts
    for attempt in attempts:
        before = restorer.restore(case.part, attempt)
        assert restorer.restore(tied, attempt, like=case.part) == before, attempt
        assert aliases < before.keys()


@both_modes
@every_case
def test_untie_restores_as_if_nothing_had_been_tied(case: Case, mode: Mode, restorer: Restorer, tmp_path: Path) -> None:
    """`untie`: every leaf in every way, and the JSON files of the item byte for byte."""
    tie(case, tmp_path / "tied", mode)

    tiecli.untie(tmp_path / "tied", tiecli.Target(tmp_path / "back", sync=False), item=case.item)

    back = find_part(tmp_path / "back", case.item)
    for attempt in list_attempts(case, back):
        before = restorer.restore(case.part, attempt)
        assert restorer.restore(back, attempt, like=case.part) == before, attempt
    assert read_documents(find_step(back)) == read_documents(find_step(case.part))


def find_step(part: Part) -> Path:
    """The directory that holds the item and its siblings; the item itself where it stands alone."""
    return part.path if part.item is None else part.path.parent


def read_documents(directory: Path) -> dict[str, bytes]:
    """Reads everything but the store: the JSON of items and steps, JSON items, marks of what is complete."""
    kept = {"_METADATA", "_sharding", "_strings.json", "_CHECKPOINT_METADATA", "_ROOT_METADATA"}
    kept |= {"commit_success.txt", "orbax.checkpoint", "metadata"}
    paths = [path for path in directory.rglob("*") if path.name in kept or path.parent.name == "array_metadatas"]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths if path.is_file()}


@every_case
def test_a_full_target_of_omitted_leaves_is_refused_or_says_so(case: Case, restorer: Restorer, tmp_path: Path) -> None:
    """Where a program still asks for an alias that was omitted, it never gets values that nobody stored."""
    tied, aliases = tie(case, tmp_path / "tied", "omit")

    for attempt in list_attempts(case, tied):
        if attempt.form == "found":
            continue
        try:
            after = restorer.restore(tied, attempt, like=case.part)
        except OrbaxRefusedError:
            continue
        assert {after[alias].dtype for alias in aliases} == {"None"}, attempt


@both_modes
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.layout in ("named-steps", "items", "files-zarr2", "v1")], ids=str
)
def test_in_place_nothing_else_changes(case: Case, mode: Mode, restorer: Restorer, tmp_path: Path) -> None:
    """`--in-place`: other items and other steps restore as before, and `untie` gives back what was there."""
    here = shutil.copytree(case.root, tmp_path / "here")
    target = tiecli.Target(here, in_place=True, sync=False)

    report = tiecli.tie(here, case.requests, target, mode=mode, item=case.item)
    tied = shutil.copytree(here, tmp_path / "tied")
    assert tiecli.untie(here, target, item=case.item).restored

    gone = {tie.alias for tie in report.ties if mode == "omit"}
    for original, after, back in zip(*map(list_parts, (case.root, tied, here)), strict=True):
        before = restorer.restore(original, ASKED)
        missing = gone if original == case.part else ()
        assert restorer.restore(back, ASKED) == before
        assert restorer.restore(after, ASKED) == {path: leaf for path, leaf in before.items() if path not in missing}
    assert read_documents(here) == read_documents(case.root)


def test_ties_come_and_go_one_by_one(restorer: Restorer, tmp_path: Path) -> None:
    """Omitted, then shared, then each untied alone: at each state Orbax restores what the leaves have always been."""
    (case,) = [case for case in CASES if case.layout == "nodes"]
    same, turned, *_ = case.requests
    before = restorer.restore(case.part, ASKED)
    states = [tmp_path / name for name in ("one", "two", "three", "four")]

    tiecli.tie(case.root, [same], tiecli.Target(states[0], sync=False), mode="omit")
    tiecli.tie(states[0], [turned], tiecli.Target(states[1], sync=False), mode="alias")
    tiecli.untie(states[1], tiecli.Target(states[2], sync=False), select=str(turned.dst))
    tiecli.untie(states[2], tiecli.Target(states[3], sync=False))

    without = {path: leaf for path, leaf in before.items() if path != same.dst}
    restored = [restorer.restore(find_part(state, None), ASKED) for state in states]
    assert restored == [without, without, without, before]
    assert read_documents(states[3]) == read_documents(case.root)


def test_training_goes_on_from_a_tied_step(restorer: Restorer, tmp_path: Path) -> None:
    """A CheckpointManager takes the tied step for the latest, saves the next, and clears the oldest away."""
    (case,) = [case for case in CASES if case.layout == "named-steps"]
    root = shutil.copytree(case.root, tmp_path / "root")
    tiecli.tie(root, case.requests, tiecli.Target(root, in_place=True, sync=False), mode="alias")

    steps = restorer.resume(Resuming(root, "step", 8, max_to_keep=2))

    assert steps == (100, 101)
    tied, saved = list_parts(root)
    assert restorer.restore(saved, ASKED) == restorer.restore(tied, ASKED) == restorer.restore(case.part, ASKED)
