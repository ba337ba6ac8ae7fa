"""Every rule against its cases: it finds what it is for, and nothing else does; near misses stay silent."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from tests.lint.building import Case
from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import CODES, find_rule, list_rules
from tiecli.linting.subject import Subject

FAMILIES = sorted({code[:3].lower() for code in CODES})
CASES: list[Case] = [case for family in FAMILIES for case in import_module(f"tests.lint.cases_{family}").CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code}-{case.name}")
def test_a_rule_finds_what_it_is_for_and_nothing_else(case: Case, tmp_path: Path) -> None:
    """A bad checkpoint raises exactly its rule; a near miss raises nothing."""
    rules = [rule for rule in list_rules() if rule.default or rule.code == case.code]
    declared = tuple(DeclaredPair(*pair) for pair in case.declared)
    found = []
    for unit in find_units(case.build(tmp_path)):
        subject = Subject(unit, declared)
        try:
            outcome = run_rules(subject, rules, data=case.data)
        finally:
            subject.close()
        assert not outcome.failures
        assert case.code not in [it.code for it in outcome.not_checked]
        found += [(rule.code, finding.message) for rule, finding in outcome.found]

    assert {code for code, _ in found} == ({case.code} if case.raises else set()), found
    for words in case.says:
        assert words in found[0][1]


def test_every_rule_has_a_bad_case_and_two_near_misses() -> None:
    """Of the one at least one, of the other at least two."""
    bad = Counter(case.code for case in CASES if case.raises)
    good = Counter(case.code for case in CASES if not case.raises)

    assert [code for code in CODES if not bad[code]] == []
    assert [code for code in CODES if good[code] < 2] == []


@pytest.mark.parametrize("code", CODES)
def test_every_rule_has_a_whole_page(code: str) -> None:
    """Each says what, why and what to do, and shows a bad and a good example."""
    rule = find_rule(code)

    assert rule.code == code
    assert rule.name == rule.name.lower().replace(" ", "-")
    for text in (rule.what, rule.why, rule.mend, rule.bad, rule.good):
        assert text == text.strip()
        assert len(text) > 10
        assert max(map(len, text.splitlines())) <= 120
    assert rule.bad != rule.good
