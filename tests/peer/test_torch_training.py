"""Training in torch that goes through `tie` goes on as if one Parameter had been shared from the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.peer.trained_torch import (
    ALL,
    LINEAR,
    MORE,
    SLOT,
    STEPS,
    TIE,
    Training,
    find_distance,
    largest_difference,
    resume,
    train,
    train_apart,
)
from tiecli.cli.entry import main

Run = Callable[..., Any]


# Of a turned matrix torch's Adafactor sums rows and columns in another order: replicas are not equal to the bit.
@pytest.mark.parametrize(
    ("name", "turned"),
    [(name, turned) for name in ALL for turned in (False, True) if (name, turned) != ("adafactor", True)],
)
def test_synchronised_replicas(torch: Any, run: Run, tmp_path: Path, name: str, turned: bool) -> None:
    """Two copies that each got the gradient of both: one is kept, and every later step is that of a shared one."""
    replicas = Training(torch, name, tied=False, turned=turned)
    for number in range(STEPS):
        replicas.step(number, synchronised=True)
    transform = ("--transform", "transpose") if turned else ()
    model, tied = replicas.save(tmp_path / "model.safetensors"), tmp_path / "tied.safetensors"
    report = run("tie", model, *TIE, *transform, "--state", "carry", "-o", tied)

    assert {slot["regime"] for slot in report["state"]} <= {"replicas", "counts"}
    assert all(slot["exact"] for slot in report["state"])
    found, expected = resume(torch, name, tied), train(torch, name, STEPS + MORE)
    # A product with a turned matrix may be summed in another order; NAdam's product of decays is float32 until torch
    # loads it as float64.
    assert largest_difference(found, expected) <= (1e-11 if turned or name == "nadam" else 0.0)


@pytest.mark.parametrize("turned", [False, True], ids=["same", "transpose"])
@pytest.mark.parametrize("name", LINEAR)
def test_sums_of_gradients(torch: Any, run: Run, tmp_path: Path, name: str, turned: bool) -> None:
    """Leaves that each gathered their own gradients: the sum is what a shared one gathers, and training goes on."""
    transform = ("--transform", "transpose") if turned else ()
    model = train_apart(torch, name, turned=turned).save(tmp_path / "model.safetensors")
    report = run("tie", model, *TIE, *transform, "-o", tmp_path / "tied.safetensors")

    assert [slot["rule"] for slot in report["state"]] == ([] if name == "sgd" else ["summed"])
    assert all(slot["exact"] for slot in report["state"])
    found, expected = resume(torch, name, tmp_path / "tied.safetensors"), train(torch, name, STEPS + MORE)
    assert largest_difference(found, expected) < 1e-12


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_state_in_a_file_of_its_own(torch: Any, run: Run, tmp_path: Path, name: str) -> None:
    """The parameters are tied first; their ties are then carried over to the state."""
    from safetensors.torch import save_file

    replicas = Training(torch, name, tied=False)
    for number in range(STEPS):
        replicas.step(number, synchronised=True)
    files = {it: tmp_path / f"{it}.safetensors" for it in ("model", "optimizer", "tied", "tied-optimizer")}
    save_file(replicas.list_parameters(), files["model"], {"format": "pt"})
    save_file(replicas.list_state(), files["optimizer"], {"format": "pt"})
    said = run("tie", files["model"], *TIE, "-o", files["tied"])["notices"]
    run("tie", files["optimizer"], "--params", files["tied"], "-o", files["tied-optimizer"])

    assert any(f"`{files['optimizer']}` keeps optimizer state of the aliases" in notice for notice in said)
    found = resume(torch, name, files["tied"], files["tied-optimizer"])
    assert largest_difference(found, train(torch, name, STEPS + MORE)) == 0.0


@pytest.mark.parametrize("name", ["momentum", "adamw", "adafactor"])
def test_a_model_that_was_saved_tied(torch: Any, run: Run, tmp_path: Path, name: str) -> None:
    """`untie` gives the second name a state of its own; given the gradient of both, two leaves train as one does."""
    from safetensors.torch import load_file, save_file

    shared = train(torch, name)
    state = {SLOT + it: value for it, value in shared.list_state().items()}
    said = {"format": "pt", "head.weight": "embed.weight"}
    save_file({**shared.list_parameters(), **state}, tmp_path / "tied.safetensors", said)
    report = run("untie", tmp_path / "tied.safetensors", "-o", tmp_path / "untied.safetensors")
    leaves = load_file(tmp_path / "untied.safetensors")
    slots = {it.removeprefix(SLOT): leaves.pop(it) for it in list(leaves) if it.startswith(SLOT)}
    replicas = Training(torch, name, tied=False)
    replicas.load(leaves, slots)
    for number in range(STEPS, STEPS + MORE):
        replicas.step(number, synchronised=True)

    assert {slot["rule"] for slot in report["state"]} == {"copied from the leaf it followed from"}
    expected = train(torch, name, STEPS + MORE).list_parameters()
    found = replicas.list_parameters()
    assert all(torch.equal(found[it], expected[it]) for it in expected)
    assert torch.equal(found["head.weight"], expected["embed.weight"])


def test_leaves_that_went_their_own_ways(torch: Any, run: Run, tmp_path: Path) -> None:
    """Their values are given up on one side; the momentum of both is kept, summed bit for bit, and `untie` works."""
    from safetensors.torch import load_file

    apart = Training(torch, "momentum", tied=False)
    for number in range(STEPS):
        apart.step(number)
    model, tied, state = apart.save(tmp_path / "model.safetensors"), tmp_path / "tied.safetensors", apart.list_state()
    report = run("tie", model, *TIE, "--keep", "src", "-o", tied)

    slots = [f"{leaf}.momentum_buffer" for leaf in ("embed.weight", "head.weight")]
    assert {slot["regime"] for slot in report["state"]} == {"independent"}
    assert torch.equal(load_file(tied)[SLOT + slots[0]], state[slots[0]] + state[slots[1]])
    run("untie", tied, "-o", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert torch.equal(back[SLOT + slots[1]], back[SLOT + slots[0]])


def test_decay_that_is_part_of_the_gradients_is_summed_too(torch: Any, run: Run, tmp_path: Path) -> None:
    """torch's SGD gathers it with them, so that the sum holds it twice; this much is said, and fades with momentum."""
    from safetensors.torch import load_file

    apart, reference = train_apart(torch, "decayed"), train(torch, "decayed")
    model, tied = apart.save(tmp_path / "model.safetensors"), tmp_path / "tied.safetensors"
    report = run("tie", model, *TIE, "-o", tied)
    slot = "embed.weight.momentum_buffer"
    excess = load_file(tied)[SLOT + slot] - reference.list_state()[slot]

    decay, values = torch.zeros_like(excess), Training(torch, "decayed", tied=True)
    for number in range(STEPS):
        decay = 0.9 * decay + 0.1 * values.model.embed.weight.detach()
        values.step(number)
    assert torch.allclose(excess, decay, rtol=0, atol=1e-14)
    assert any(
        "decay that is added to the gradients is in the sums once for each leaf" in it for it in report["notices"]
    )


@pytest.mark.parametrize("name", ["adam", "adamw", "amsgrad", "rmsprop", "adagrad"])
def test_squares_of_leaves_that_were_trained_apart(torch: Any, run: Run, tmp_path: Path, name: str) -> None:
    """Only the product of the two gradients is missing: between the bounds, and said; training goes on from there."""
    from safetensors.torch import load_file

    apart, reference = train_apart(torch, name), train(torch, name)
    tied = tmp_path / "tied.safetensors"
    report = run("tie", apart.save(tmp_path / "model.safetensors"), *TIE, "-o", tied)
    squares = {"adagrad": "sum", "rmsprop": "square_avg"}.get(name, "exp_avg_sq")
    own, other = (apart.list_state()[f"{leaf}.weight.{squares}"].sqrt() for leaf in ("embed", "head"))
    merged = load_file(tied)[f"{SLOT}embed.weight.{squares}"]

    for values in (merged, reference.list_state()[f"embed.weight.{squares}"]):
        assert ((own - other) ** 2 - 1e-15 <= values).all()
        assert (values <= (own + other) ** 2 + 1e-15).all()
    exact = {slot["slot"]: slot["exact"] for slot in report["state"]}
    assert not exact[squares]
    assert exact.get("exp_avg", True)
    # So early the squares have little memory; a reset costs twice as much all the same, or more.
    expected = train(torch, name, STEPS + MORE)
    run("tie", tmp_path / "model.safetensors", *TIE, "--state", "reset", "-o", tmp_path / "reset.safetensors")
    carried, reset = (
        find_distance(resume(torch, name, path), expected) for path in (tied, tmp_path / "reset.safetensors")
    )
    assert 0 < carried < 0.2 * find_distance(reference, expected)
    assert reset > 1.8 * carried


@pytest.mark.parametrize("name", ["adafactor", "adadelta", "rprop", "centered"])
def test_what_has_no_valid_rule(torch: Any, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Is refused by the name of its slot, and nothing is written."""
    model = train_apart(torch, name).save(tmp_path / "model.safetensors")
    assert main(["tie", str(model), *TIE, "-o", str(tmp_path / "tied.safetensors")]) == 2
    says = {
        "adafactor": "no valid rule for `col_var`",
        "adadelta": "no valid rule for `acc_delta`",
        "rprop": "kept for `head.weight`: there is no known rule for it",
        "centered": "no valid rule for `square_avg` of leaves that were trained apart, and less the square",
    }
    assert says[name] in capsys.readouterr().err
    assert not (tmp_path / "tied.safetensors").exists()
