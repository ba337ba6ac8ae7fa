"""How far off a step of Adam is whose second moments were gathered apart, as docs/optimizer-state.md says it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")

from tests.peer.measured_squares import RULES, STEPS, find_error, list_rules, train  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "optimizer-state.md"
Run = Callable[..., Any]


@pytest.fixture(scope="module", params=[0, 1])
def trained(request: pytest.FixtureRequest) -> Any:
    """A tied language model after 400 steps, with what its two leaves would have gathered apart."""
    with jax.enable_x64(True):
        return train(request.param, attends=bool(request.param))


def test_tie_makes_the_step_that_was_measured(trained: Any, run: Run, tmp_path: Path) -> None:
    """The files that `tie` reads and writes: momentum is exact, the step is off by as much as the page says."""
    from safetensors.numpy import load_file, save_file

    table, seen = trained
    tied, own, other, count = seen[-1]
    state = {
        f"opt_state.0.{slot}.{leaf}": moments[place]
        for leaf, moments in (("embed", own), ("head", other))
        for place, slot in enumerate(("mu", "nu"))
    }
    leaves = {"params.embed": table, "params.head": table, "opt_state.0.count": np.array(count), **state}
    save_file(leaves, tmp_path / "model.safetensors")
    tie = ("--src", "params.embed", "--dst", "params.head", "-o", tmp_path / "tied.safetensors")
    report = run("tie", tmp_path / "model.safetensors", *tie)
    mu, nu = (load_file(tmp_path / "tied.safetensors")[f"opt_state.0.{slot}.embed"] for slot in ("mu", "nu"))

    assert {slot["slot"]: slot["exact"] for slot in report["state"]} == {"mu": True, "nu": False}
    assert np.abs(mu - tied[0]).max() < 1e-14 * np.abs(mu).max()
    low, high = read_figures("sum")[-1]
    assert low - 0.1 < 100 * find_error(tied, nu, count) < high + 0.1


def test_no_other_rule_is_closer(trained: Any) -> None:
    """At ten steps, at a hundred and at four hundred; each is off by as much as the page says."""
    for place, (tied, own, other, count) in enumerate(trained[1]):
        rules = list_rules(own[1], other[1])
        errors = {rule: 100 * find_error(tied, rules[rule], count) for rule in RULES}
        assert min(errors, key=errors.__getitem__) == "sum"
        for rule, error in errors.items():
            low, high = read_figures(rule)[place]
            assert 0.99 * low - 0.1 < error < 1.01 * high + 0.1, rule


def read_figures(rule: str) -> list[tuple[float, float]]:
    """Reads the figures of a rule off the page."""
    (row,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {rule} |"))
    figures = [(float(low), float(high)) for low, high in re.findall(r"([\d.]+) to ([\d.]+) %", row)]
    assert len(figures) == len(STEPS)
    return figures
