"""Training in optax that goes through `tie`, or through `untie`, goes on: every later step, from real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiecli.cli.entry import main
from tiecli.pytrees import expand, load, save

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `verify`")

from tests.peer.test_optimizer_state import (  # noqa: E402
    HEAD,
    SQUARED,
    STEPS,
    TIE,
    Run,
    carry,
    largest_difference,
    loss,
    tied,
    train,
)

MORE = 6


@pytest.fixture(autouse=True)
def float64() -> Any:
    """Computes in float64, so that what is exact shows."""
    with jax.enable_x64(True):
        yield


def resume(name: str, path: Path) -> Run:
    """Restores a tied checkpoint into a tied program, and trains on."""
    run = train(name)
    back = jax.tree.map(jax.numpy.asarray, load(path, like=run.like(), expanded=False))
    run.tied, run.state = back["params"], back["opt_state"]
    for number in range(STEPS, STEPS + MORE):
        run.step(number)
    return run


def largest(found: Run, expected: Run) -> float:
    """Gives how far parameters are apart, in the size of the leaf."""
    return max(largest_difference(found.tied, expected.tied, 0.0).values(), default=0.0)


def find_distance(found: Run, expected: Run) -> float:
    """Gives how far all parameters together are apart."""
    return float(optax.global_norm(jax.tree.map(jax.numpy.subtract, found.tied, expected.tied)))


@pytest.mark.parametrize("name", ["lion", "accumulated", "adamw", "adafactor", "grouped"])
def test_replicas(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the two is the state of a tied program, and each later step is that of one."""
    run = train(name)
    carry(run.tree(run.copies), tmp_path / "model", capsys)

    # `MultiSteps` accumulates in float32 itself; signs of Lion would show any other difference at once.
    within = 1e-6 if name == "accumulated" else 1e-12
    assert largest(resume(name, tied(tmp_path / "model")), train(name, STEPS + MORE)) <= within


@pytest.mark.parametrize("name", sorted(SQUARED.keys() - {"clipped", "adamw"}))
def test_leaves_that_were_trained_apart(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Squares lack a product, which shows most where a tie is made as early as here; a reset costs twice as much."""
    run = train(name)
    carry(run.tree(run.apart), tmp_path / "model", capsys)
    carry(run.tree(run.apart), tmp_path / "reset", capsys, "--state", "reset")
    expected = train(name, STEPS + MORE)
    carried, reset = (find_distance(resume(name, tied(tmp_path / it)), expected) for it in ("model", "reset"))

    assert 0 < carried < 0.25 * find_distance(run, expected)
    assert reset > 1.8 * carried


@pytest.mark.parametrize("name", ["momentum", "adam", "adamw", "lion", "adafactor", "scheduled"])
def test_an_untied_program_goes_on(name: str, tmp_path: Path) -> None:
    """A state that was saved tied becomes two replicas; with the gradient of both each, they train as one leaf does."""
    run, expected = train(name), train(name, STEPS + MORE)
    save(run.like(), tmp_path / "model", ties=_below_params(run), sync=False)
    assert main(["untie", str(tmp_path / "model"), "-o", str(tmp_path / "untied"), "--no-sync"]) == 0
    full = {"params": expand(run.tied, run.ties), "opt_state": run.copies}
    back = jax.tree.map(jax.numpy.asarray, load(tmp_path / "untied", like=full))

    assert largest_difference(back, full) == {}
    parameters, state = back["params"], back["opt_state"]
    for number in range(STEPS, STEPS + MORE):
        own = jax.grad(loss)(parameters, number)
        total = own["embed"]["w"] + own["head"]["w"].T
        own = {**own, "embed": {"w": total}, "head": {"w": total.T}}
        updates, state = run.update(own, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    assert largest_difference(parameters, expand(expected.tied, expected.ties), 1e-12) == {}


def test_centred_squares_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The square of a summed average can be larger than a sum of squares: NaN, some steps later."""
    run = Run(optax.rmsprop(0.01, centered=True), train("adam").tree(None)["params"])
    for number in range(STEPS):
        run.step(number)
    save(run.tree(run.apart), tmp_path / "model", sync=False)

    assert main(["tie", str(tmp_path / "model"), *TIE, "-o", str(tmp_path / "tied")]) == 2
    assert "no valid rule for `nu` of leaves that were trained apart, and less the square" in capsys.readouterr().err
    slots = carry(run.tree(run.copies), tmp_path / "replicas", capsys)
    assert all(slot["exact"] for slot in slots)


def _below_params(run: Run) -> Any:
    """Gives the ties as the whole checkpoint has them."""
    from tiecli.pytrees import tie_names

    return tie_names({"params": expand(run.tied, run.ties)}, {HEAD: "params.embed.w | transpose"})
