"""What `tie` and `untie` make of every layout, stock Orbax restores in every way, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiecli
from tests.peer.orbax_restores import Attempt, Leaves, OrbaxRefusedError, Part, Restorer
from tests.peer.orbax_ties import CASES, Case, can_restore, find_part
from tiecli.checkpoints.protocol import Selection

every_case = pytest.mark.parametrize("case", CASES, ids=str)
copied_and_linked = pytest.mark.parametrize("link", [False, True], ids=["copy", "link"])
both_modes = pytest.mark.parametrize("mode", ["omit", "alias"])


def tie(case: Case, out: Path, mode: str, link: bool = False) -> tuple[Part, frozenset[str]]:
    """Ties all that a case ties; gives the item that was written, and the aliases."""
    target = tiecli.Target(out, kept_files="hardlink" if link else "copy", sync=False)
    tiecli.tie(case.root, case.requests, target, mode=mode, item=case.item)
    with tiecli.open_reader(out, Selection(item=case.item)) as reader:
        manifest = reader.manifest()
    assert manifest is not None
    return find_part(out, case.item), frozenset(str(tie.alias) for tie in manifest.ties)


def list_attempts(case: Case, part: Part) -> list[Attempt]:
    """Lists how to restore what was made of a layout: in every way that works for the layout itself."""
    return [attempt for attempt in part.attempts if can_restore(case.layout, attempt)]


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

    attempts = list_attempts(case, tied)
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

    attempts = list_attempts(case, tied)
    assert attempts
    for attempt in attempts:
        before = restorer.restore(case.part, attempt)
        assert restorer.restore(tied, attempt, like=case.part) == before, attempt
        assert aliases < before.keys()


@both_modes
@every_case
def test_untie_restores_as_if_nothing_had_been_tied(case: Case, mode: str, restorer: Restorer, tmp_path: Path) -> None:
    """`untie`: every leaf in every way, and the JSON files of the item byte for byte."""
    tie(case, tmp_path / "tied", mode)

    tiecli.untie(tmp_path / "tied", tiecli.Target(tmp_path / "back", sync=False), item=case.item)

    back = find_part(tmp_path / "back", case.item)
    for attempt in list_attempts(case, back):
        before = restorer.restore(case.part, attempt)
        assert restorer.restore(back, attempt, like=case.part) == before, attempt
    assert read_documents(back.path) == read_documents(case.part.path)


def read_documents(item: Path) -> dict[str, bytes]:
    """Reads the JSON files of an item."""
    paths = [item / "_METADATA", item / "_sharding", item / "_strings.json", *item.glob("array_metadatas/*")]
    return {str(path.relative_to(item)): path.read_bytes() for path in paths if path.exists()}


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
