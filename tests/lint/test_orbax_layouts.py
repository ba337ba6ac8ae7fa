"""Layouts as stock Orbax wrote them, and what tiecli makes of them, lint clean."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiecli
from tests.lint.orbax_items import write_item
from tests.peer.orbax_ties import CASES, LAYOUTS, ROOT, Case
from tiecli.checkpoints.survey.orbax import survey_orbax
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import CODES, find_rule
from tiecli.linting.rule import Finding
from tiecli.linting.subject import Subject
from tiecli.plan import Mode

OURS = [rule for code in CODES if code.startswith(("ORB", "OPT")) and "data" not in (rule := find_rule(code)).needs]

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def find(path: Path) -> list[tuple[str, Finding]]:
    """Lints an Orbax checkpoint by the rules about Orbax and optimizers that read no data."""
    subject = Subject(Unit(path, "orbax", path))
    try:
        outcome = run_rules(subject, OURS, data=False)
    finally:
        subject.close()
    assert not outcome.failures
    assert not outcome.not_checked
    return [(rule.code, finding) for rule, finding in outcome.found]


def list_below(path: Path) -> Iterator[Path]:
    """Lists the checkpoint, its steps and its items, each of which may be linted by itself."""
    yield path
    for file in sorted({*path.rglob("_METADATA"), *path.rglob("_CHECKPOINT_METADATA")}):
        if file.parent != path:
            yield file.parent


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_orbax_writes_is_clean(layout: str) -> None:
    """Each layout, each step and each item of it."""
    assert [found for path in list_below(ROOT / layout) for found in find(path)] == []


@pytest.mark.parametrize("mode", ["omit", "alias"])
@every_case
def test_what_tiecli_writes_is_clean(case: Case, mode: Mode, tmp_path: Path) -> None:
    """Ties of both modes; where the state of training is another item, the moments of aliases stay, and are told of."""
    target = tiecli.Target(tmp_path / "tied", sync=False)
    report = tiecli.tie(case.root, case.requests, target, mode=mode, item=case.item)
    found = find(target.path)

    apart = str(case) == "items/params" and mode == "omit"
    assert {code for code, _ in found} == ({"OPT001"} if apart else set())
    gone = {str(tie.alias) for tie in report.ties}
    assert all(any(f"`{name}`" in finding.message for name in gone) for _, finding in found)


@every_case
def test_what_untie_brings_back_is_clean(case: Case, tmp_path: Path) -> None:
    """An alias that is stored again has no need of what a device left behind."""
    tied, untied = tmp_path / "tied", tmp_path / "untied"
    tiecli.tie(case.root, case.requests, tiecli.Target(tied, sync=False), mode="omit", item=case.item)
    tiecli.untie(tied, tiecli.Target(untied, sync=False), item=case.item)

    assert find(untied) == []


@pytest.mark.parametrize("layout", ["pytree", "files-zarr3", "optax", "odd-names"])
def test_what_convert_writes_is_clean(layout: str, tmp_path: Path) -> None:
    """To safetensors, and back."""
    tiecli.convert(ROOT / layout, tiecli.Target(tmp_path / "model.safetensors", sync=False))
    tiecli.convert(tmp_path / "model.safetensors", tiecli.Target(tmp_path / "back", sync=False))

    assert find(tmp_path / "back") == []


def test_of_a_thousand_steps_the_latest_is_looked_into(tmp_path: Path) -> None:
    """Markers and manifests of all steps are checked, and the trees of none but the last: a second is plenty."""
    write_item(tmp_path / "1000" / "default", {f"layers.{n}.kernel": (2, 2) for n in range(50)})
    for number in range(1, 1000):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "_METADATA").hardlink_to(tmp_path / "1000" / "default" / "_METADATA")
    (tmp_path / "500" / "_METADATA").unlink()
    start = time.process_time()
    found = find(tmp_path)

    assert time.process_time() - start < 1
    assert [(code, finding.file) for code, finding in found] == [("ORB003", "500")]
    survey = survey_orbax(Unit(tmp_path, "orbax", tmp_path))
    assert [item.place for item in survey.items] == ["1000/default"]
    assert len(survey.steps) == 1000
