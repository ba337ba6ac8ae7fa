"""Headers that were made to be slow or to fill memory: the linter is no slower than they are long."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import tiecli
from tests.unit.checkpoints.survey.test_file_survey import BOMBS, many
from tiecli.linting import engine

SECONDS = 60
ONE = '"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
CHAIN = ",".join(f'"a{number}":"a{number + 1}"' for number in range(100_000))
ALL: dict[str, Callable[[], str]] = {
    **BOMBS,
    "a chain of aliases": lambda: f'{{"__metadata__":{{{CHAIN}}},{ONE}}}',
    "a ring of aliases": lambda: f'{{"__metadata__":{{{CHAIN},"a100000":"a0"}},{ONE}}}',
    "a chain to a leaf": lambda: f'{{"__metadata__":{{{CHAIN},"a100000":"w"}},{ONE}}}',
    "holes": lambda: many('"l#":{"dtype":"U8","shape":[1],"data_offsets":[#0,#1]}', 50_000),
    "optimizer state": lambda: many('"exp_avg.l#.w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}', 50_000),
}


@pytest.mark.parametrize("name", ALL)
def test_linting_takes_linear_time(name: str, tmp_path: Path) -> None:
    """No rule looks at every tensor for every other."""
    raw = ALL[name]().encode()
    (tmp_path / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + b"x")
    started = time.perf_counter()
    report = tiecli.lint([tmp_path])

    assert report.findings
    assert time.perf_counter() - started < SECONDS


def test_findings_of_one_rule_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is told of as a failure: a list that was cut is no verdict. Other rules are heard."""
    monkeypatch.setattr(engine, "MOST_FINDINGS", 7)
    raw = many('"l#":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}', 10).encode()
    (tmp_path / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + b"x")

    report = tiecli.lint([tmp_path])

    assert [finding.code for finding in report.findings] == ["STF004"] * 7 + ["STF011"]
    (failure,) = report.failures
    assert (failure.code, failure.message) == (
        "STF004",
        "`offset-overlap` has more than 7 findings; the others are not listed",
    )
