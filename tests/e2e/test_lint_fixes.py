"""Every fix that a rule offers: the finding is gone, nothing new is found, and what no edit names is as it was."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lint.building import Case
from tests.lint.test_rules import CASES as ALL
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.survey.units import Unit
from tiecli.checkpoints.survey.walking import find_units
from tiecli.errors import TiecliError
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.edits import DropLeaf, Edit, RenameLeaf, SetMember, TieLeaves, UntieLeaf
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import find_rule, list_rules
from tiecli.linting.rule import Finding
from tiecli.linting.subject import Subject
from tiecli.verbs.fixing import choose_fixes, mend_all, plan_fixes

CASES: list[Case] = [case for case in ALL if case.raises]


def lint(unit: Unit, case: Case) -> list[tuple[str, Finding]]:
    """What the default rules find, and that of the case."""
    rules = [rule for rule in list_rules() if rule.default or rule.code == case.code]
    subject = Subject(unit, tuple(DeclaredPair(*pair) for pair in case.declared))
    try:
        outcome = run_rules(subject, rules, data=case.data)
    finally:
        subject.close()
    assert outcome.failures == ()
    return [(rule.code, finding) for rule, finding in outcome.found]


def read_units(units: Sequence[Unit]) -> dict[tuple[str, str], bytes]:
    """The bytes of all leaves that lie where their header says, or that the door reads; by file and name."""
    leaves: dict[tuple[str, str], bytes] = {}
    for unit in units:
        if unit.format == "orbax":
            leaves |= {("", name): raw for name, raw in read_tree(unit.root).items()}
            continue
        subject = Subject(unit)
        for file in subject.files:
            raw = file.path.read_bytes()
            for name, spec in file.specs.items():
                begin, end = file.infos[name]["data_offsets"]
                if end - begin == spec.nbytes and file.data_start + end <= len(raw):
                    leaves[file.name, name] = raw[file.data_start + begin : file.data_start + end]
    return leaves


def read_tree(root: Path) -> dict[str, bytes]:
    """The leaves of an Orbax checkpoint, as far as it can be read."""
    leaves = {}
    try:
        with open_reader(root) as reader:
            for path, spec in reader.specs().items():
                buffer = bytearray(spec.nbytes)
                reader.read_into(path, 0, memoryview(buffer))
                leaves[path.spelling] = bytes(buffer)
    except TiecliError:
        pass
    return leaves


def take_files(root: Path) -> dict[str, bytes]:
    """All files below a path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.name}")
def test_a_fix_mends_what_was_found_and_nothing_else(case: Case, tmp_path: Path) -> None:
    """The unsafe fixes are carried out, too; each once is enough, and a second run has nothing to do."""
    units = find_units(case.build(tmp_path))
    before = [it for unit in units for it in lint(unit, case)]
    if not any(finding.fix for _, finding in before):
        assert not any(mend_all(lambda unit: lint(unit, case), unit, unsafe=True).done for unit in units)
        assert before
        return
    files, leaves = take_files(tmp_path), read_units(units)

    planned = [fix for unit in units for fix in plan_fixes(unit, choose_fixes(lint(unit, case), unsafe=True))]
    assert take_files(tmp_path) == files
    edits: list[Edit] = []

    def lint_again(unit: Unit) -> list[tuple[str, Finding]]:
        """Lints, and notes what is going to be carried out."""
        found = lint(unit, case)
        edits.extend(edit for _, finding in found if finding.fix for edit in finding.fix.edits)
        return found

    results = [mend_all(lint_again, unit, unsafe=True, sync=False) for unit in units]
    after = [it for result in results for it in lint(result.unit, case)]

    assert [result.failure for result in results] == [None] * len(units)
    assert [line for result in results for line in result.refused] == []
    assert planned
    known = {(code, finding.message) for code, finding in before}
    assert [it for it in after if it[1].fix and (it[0], it[1].message) in known] == []
    assert [it for it in after if (it[0], it[1].message) not in known and not is_expected(case, *it, edits)] == []
    check_leaves(leaves, read_units([result.unit for result in results]), edits)
    named = {name for edit in edits for name in (getattr(edit, "file", ""), getattr(edit, "path", ""))}
    after_files = take_files(tmp_path)
    strangers = [name for name in files if name.endswith((".txt", ".md", "tokenizer.json")) and name not in named]
    assert all(after_files[name] == files[name] for name in strangers)


def is_expected(case: Case, code: str, finding: Finding, edits: Sequence[Edit]) -> bool:
    """Whether a finding is what a fix must lead to: leaves tied against the config's word, or a run without a step."""
    tied = {edit.alias for edit in edits if isinstance(edit, TieLeaves)}
    return (code == "TIE011" and finding.leaves[0] in tied) or (case.name == "nothing-else" and code == case.code)


def check_leaves(before: dict[tuple[str, str], bytes], after: dict[tuple[str, str], bytes], edits: list[Edit]) -> None:
    """Checks that every leaf is there that no edit speaks of, with the same bytes."""
    touched = {edit.leaf for edit in edits if isinstance(edit, DropLeaf)}
    touched |= {getattr(edit, "alias", "") for edit in edits}
    names = {edit.leaf: edit.name for edit in edits if isinstance(edit, RenameLeaf)}
    values: dict[str, set[bytes]] = {}
    for (_, name), raw in after.items():
        values.setdefault(name, set()).add(raw)
    for (_, name), raw in before.items():
        if name not in touched:
            assert raw in values[names.get(name, name)]
    came = values.keys() - {names.get(name, name) for _, name in before}
    came -= {edit.alias for edit in edits if isinstance(edit, UntieLeaf)}
    listed = any(isinstance(edit, SetMember) and edit.file.endswith("_METADATA") for edit in edits)
    assert not came or listed or not before


def test_fixes_are_what_their_rules_say_they_are(tmp_path: Path) -> None:
    """A rule offers a fix in some case, or none in any; safe ones and unsafe ones as its page says."""
    offered: dict[str, set[bool]] = {}
    for number, case in enumerate(CASES):
        place = tmp_path / str(number)
        place.mkdir()
        found = [it for unit in find_units(case.build(place)) for it in lint(unit, case)]
        offered.setdefault(case.code, set()).update(finding.fix.safe for _, finding in found if finding.fix)
        assert all(fix.safe for _, fix in choose_fixes(found, unsafe=False))
        shutil.rmtree(place)

    allowed = {"none": [set()], "safe": [{True}], "unsafe": [{False}], "either": [{True}, {False}, {True, False}]}
    wrong = {code: kinds for code, kinds in offered.items() if kinds not in allowed[find_rule(code).cure]}
    assert wrong == {}
