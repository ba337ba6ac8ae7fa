"""Fixing goes on while it helps, turns in no circles, and says what it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from tests.lint.building import write_file, write_llama, write_shards
from tests.unit.checkpoints.mendings import fix
from tests.unit.checkpoints.safetensors.surgery import take_stock
from tiecli.checkpoints.survey.units import Unit
from tiecli.checkpoints.survey.walking import find_units
from tiecli.errors import InPlaceError
from tiecli.linting.describing import describe_edit
from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    Edit,
    IndexLeaf,
    JoinDatabases,
    RebuildIndex,
    RemovePath,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
    TieLeaves,
    UntieLeaf,
    WriteText,
)
from tiecli.linting.rule import Finding
from tiecli.verbs.fixing import choose_fixes, mend, mend_all, plan_fixes
from tiecli.verbs.gathering import CodedFix, group_fixes

FLAG = ("config.json", (), "tie_word_embeddings")


def find(*fixes: CodedFix) -> list[tuple[str, Finding]]:
    """Findings with these fixes."""
    return [(code, Finding("something", fix=it)) for code, it in fixes]


def unit_at(path: Path) -> Unit:
    """The only checkpoint at a path."""
    (unit,) = find_units(path)
    return unit


def test_a_fix_that_has_to_wait_comes_in_the_next_round(tmp_path: Path) -> None:
    """What the first round could not carry out is offered again, if it is still found."""
    write_llama(tmp_path)
    first, second = fix(SetMember(*FLAG, "true")), fix(SetMember(*FLAG, '"x"'))
    offers = [find(first, second), find(second), find()]

    mended = mend_all(lambda _: offers.pop(0), unit_at(tmp_path), sync=False)

    assert mended.done == [first, second]
    assert (mended.refused, mended.failure, offers) == ([], None, [])


def test_a_fix_that_does_not_help_is_not_repeated(tmp_path: Path) -> None:
    """A rule that finds the same again would have it carried out for ever."""
    write_llama(tmp_path)
    looks = 0

    def lint_again(_: Unit) -> list[tuple[str, Finding]]:
        nonlocal looks
        looks += 1
        return find(fix(SetMember(*FLAG, "true")))

    mended = mend_all(lint_again, unit_at(tmp_path), sync=False)

    assert len(mended.done) == 1
    assert looks == 2


def test_rules_of_two_minds_about_a_tie_do_not_take_turns(tmp_path: Path) -> None:
    """A leaf that was tied is not untied in the same run."""
    file = write_file(tmp_path / "m.safetensors", dict.fromkeys("ab", np.arange(16, dtype=np.float32)))
    tie, untie = fix(TieLeaves("a", "b")), fix(UntieLeaf("b", "a"))
    offers = [find(tie), find(untie), find(untie)]

    mended = mend_all(lambda _: offers.pop(0), unit_at(file), sync=False)

    assert mended.done == [tie]
    assert len(offers) == 1


def test_unsafe_fixes_need_leave_and_give_way(tmp_path: Path) -> None:
    """Safe fixes come first, so that where two contradict each other the safe one wins."""
    unsafe, safe = fix(SetMember(*FLAG, "true"), safe=False), fix(SetMember(*FLAG, "null"))
    found = [*find(unsafe, safe, safe), ("STF000", Finding("nothing to do"))]

    assert choose_fixes(found, unsafe=False) == [safe]
    assert choose_fixes(found, unsafe=True) == [safe, unsafe]


def test_what_failed_is_told_with_what_was_done(tmp_path: Path) -> None:
    """A checkpoint that cannot be written in a later round keeps what an earlier one did."""
    write_llama(tmp_path)
    (tmp_path / "link.json").symlink_to("config.json")
    first = fix(SetMember(*FLAG, "true"))
    offers = [find(first), find(fix(SetMember("link.json", (), "x", "1")))]

    mended = mend_all(lambda _: offers.pop(0), unit_at(tmp_path), sync=False)

    assert mended.done == [first]
    assert isinstance(mended.failure, InPlaceError)


def test_a_plan_says_what_mending_does_and_writes_nothing(tmp_path: Path) -> None:
    """The same fixes, in the same words; those that contradict others are left out."""
    directory = write_llama(tmp_path / "model")
    fixes = [fix(SetMember(*FLAG, "true")), fix(SetMember(*FLAG, "null")), fix(RenameLeaf("lm_head.weight", "head"))]
    before = take_stock(directory)

    planned = plan_fixes(unit_at(directory), fixes)

    assert take_stock(directory) == before
    assert planned == mend(unit_at(directory), fixes, sync=False)
    assert [applied.edits for applied in planned] == [
        ("in `config.json`, set tie_word_embeddings to true",),
        ("rename `lm_head.weight` to `head`",),
    ]
    assert planned[0].checkpoint == str(directory)


def test_a_set_without_an_index_is_found_by_its_new_name(tmp_path: Path) -> None:
    """The next look at a checkpoint goes to the files that it has by then."""
    file = write_file(tmp_path / "a-00001-of-00003.safetensors", {"a": ("F32", (1,))})
    write_file(tmp_path / "other.safetensors", {"a": ("F32", (1,))})
    units: list[Unit] = []

    def lint_again(unit: Unit) -> list[tuple[str, Finding]]:
        units.append(unit)
        return find(fix(RenameFile(file.name, "a-00001-of-00001.safetensors"))) if len(units) == 1 else []

    mended = mend_all(lint_again, unit_at(file), sync=False)

    assert mended.unit.root == units[1].root == tmp_path / "a-00001-of-00001.safetensors"
    assert mended.unit.files == ("a-00001-of-00001.safetensors",)


def test_fixes_of_a_directory_go_together_and_those_of_orbax_by_place(tmp_path: Path) -> None:
    """A safetensors directory changes once; a run's directory is touched as little as can be."""
    write_shards(tmp_path, {"a.safetensors": {"a": ("F32", (1,))}})
    fixes = [
        fix(SetMember("1/_METADATA", (), "x", "1")),
        fix(RemovePath("2")),
        fix(DropMember("1/_METADATA", (), "y")),
        fix(WriteText("1/done", "")),
    ]
    orbax = Unit(tmp_path, "orbax", tmp_path)

    assert group_fixes(unit_at(tmp_path), fixes) == [fixes]
    assert group_fixes(orbax, fixes) == [[fixes[0], fixes[2], fixes[3]], [fixes[1]]]


WORDS: list[tuple[Edit, str]] = [
    (SetMember("c.json", ("a", "b"), "x", '"' + "y" * 100 + '"'), 'in `c.json`, set a.b.x to "' + "y" * 58 + "…"),
    (DropMember("c.json", (), "x"), "in `c.json`, remove x"),
    (SetMetadata("m", "format", "pt"), "in the metadata of `m`, set `format` to `pt`"),
    (SetMetadata("m", "format", None), "in the metadata of `m`, remove `format`"),
    (RenameLeaf("a", "b"), "rename `a` to `b`"),
    (DropLeaf("a"), "drop `a`"),
    (DropLeaf("a", "m"), "drop `a` from `m`"),
    (Repack("m"), "write `m` anew, its tensors side by side"),
    (RebuildIndex("i"), "write the rows of `i` anew, from the headers"),
    (IndexLeaf("a", "m"), "in the index, place `a` in `m`"),
    (IndexLeaf("a", ""), "in the index, remove the row of `a`"),
    (TieLeaves("a", "b"), "tie `b` to `a`"),
    (TieLeaves("a", "b", "transpose"), "tie `b` to `a` | transpose"),
    (UntieLeaf("b", "a"), "store `b` again, from `a`"),
    (RenameFile("m", "n"), "rename `m` to `n`"),
    (RemovePath("m"), "remove `m`"),
    (WriteText("m", "abc"), "add `m`, 3 characters"),
    (JoinDatabases("5/default"), "join the databases in `5/default`"),
]


@pytest.mark.parametrize(("edit", "words"), WORDS, ids=lambda value: str(value)[:40])
def test_every_edit_has_words(edit: Edit, words: str) -> None:
    """One line each, whatever it holds."""
    assert describe_edit(edit) == words


def test_no_kind_of_edit_is_left_out() -> None:
    """A new kind needs words, too."""
    assert {type(edit) for edit, _ in WORDS} == set(get_args(Edit))


def test_the_config_of_a_lone_file_can_be_set(tmp_path: Path) -> None:
    """A file that was given alone has its config beside it, and each is replaced by itself."""
    directory = write_llama(tmp_path)
    write_file(directory / "other.safetensors", {"a": ("F32", (1,))})
    unit = next(unit for unit in find_units(directory) if unit.root.name == "model.safetensors")

    done = mend(unit, [fix(SetMember(*FLAG, "true")), fix(SetMetadata("model.safetensors", "x", "1"))], sync=False)

    assert len(done) == 2
    assert json.loads((directory / "config.json").read_text())["tie_word_embeddings"] is True
