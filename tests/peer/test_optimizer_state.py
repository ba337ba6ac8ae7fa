"""Training that goes through `tie` goes on as if the leaves had always been tied: real optax states, real files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiecli.cli.entry import main
from tiecli.pytrees import contract, expand, list_leaves, load, save, tie_names

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")
optax = pytest.importorskip("optax", reason="optax comes with the extra `verify`")

EMBED, HEAD = "params.embed.w", "params.head.w"
TIE = ["--src", EMBED, "--dst", HEAD, "--transform", "transpose"]
STEPS = 5
Optimizer = Any

LINEAR: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "nesterov": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "lion": lambda: optax.lion(0.01),
    "accumulated": lambda: optax.MultiSteps(optax.sgd(0.1, momentum=0.9), 2),
    "scheduled": lambda: optax.inject_hyperparams(optax.sgd)(optax.linear_schedule(0.1, 0.01, 9), momentum=0.9),
    "grouped": lambda: optax.multi_transform(
        {"all": optax.sgd(0.1, momentum=0.9)}, lambda tree: jax.tree.map(lambda _: "all", tree)
    ),
}
SQUARED: dict[str, Callable[[], Optimizer]] = {
    "adam": lambda: optax.adam(0.01),
    "adamw": lambda: optax.adamw(0.01),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1e9), optax.adam(0.01)),
    "rmsprop": lambda: optax.rmsprop(0.01),
    "adagrad": lambda: optax.adagrad(0.01),
    "amsgrad": lambda: optax.amsgrad(0.01),
}
FACTORED: dict[str, Callable[[], Optimizer]] = {
    "adafactor": lambda: optax.adafactor(0.01, min_dim_size_to_factor=4),
}
ALL = {**LINEAR, **SQUARED, **FACTORED}


@pytest.fixture(autouse=True)
def float64() -> Any:
    """Computes in float64, so that what is exact shows."""
    with jax.enable_x64(True):
        yield


def make_parameters(rows: int = 9, width: int = 6) -> Any:
    """Makes a small model whose head is its embedding, turned."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((rows, width))
    tree = {"embed": {"w": table}, "mix": {"w": rng.standard_normal((width, width))}, "head": {"w": table.T.copy()}}
    return jax.tree.map(jax.numpy.asarray, tree)


def loss(tree: Any, step: int) -> Any:
    """A language model's loss; every step has tokens of its own."""
    tokens = (jax.numpy.arange(7) * 5 + step) % tree["embed"]["w"].shape[0]
    hidden = jax.numpy.tanh(tree["embed"]["w"][tokens] @ tree["mix"]["w"])
    scores = jax.nn.log_softmax(hidden @ tree["head"]["w"])
    return -scores[jax.numpy.arange(7), jax.numpy.roll(tokens, 1)].mean()


class Run:
    """Training that is tied from the start, and beside it the state of optimizers that are not."""

    def __init__(self, optimizer: Optimizer, parameters: Any) -> None:
        self.optimizer = optimizer
        self.ties = tie_names(parameters, {"head.w": "embed.w | transpose"})
        self.tied = contract(parameters, self.ties)
        self.state = optimizer.init(self.tied)
        self.apart = optimizer.init(parameters)
        self.copies = optimizer.init(parameters)
        # Not compiled, `MultiSteps` would compile its branches anew with every call.
        self.update = jax.jit(optimizer.update)

    def step(self, number: int) -> None:
        """Takes one step; the untied states are told the gradients of each leaf, or of both."""
        full = expand(self.tied, self.ties)
        own = jax.grad(loss)(full, number)
        tied = jax.grad(lambda tree: loss(expand(tree, self.ties), number))(self.tied)
        _, self.apart = self.update(own, self.apart, full)
        _, self.copies = self.update(expand(tied, self.ties), self.copies, full)
        updates, self.state = self.update(tied, self.state, self.tied)
        self.tied = optax.apply_updates(self.tied, updates)

    def tree(self, state: Any) -> Any:
        """Gives the training checkpoint of an untied program at this point."""
        return {"params": expand(self.tied, self.ties), "opt_state": state}

    def like(self) -> Any:
        """Gives the training checkpoint of a tied program at this point."""
        return {"params": self.tied, "opt_state": self.state}


def train(name: str, steps: int = STEPS, rows: int = 9) -> Run:
    """Trains for some steps."""
    run = Run(ALL[name](), make_parameters(rows))
    for number in range(steps):
        run.step(number)
    return run


def carry(tree: Any, path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """Saves an untied checkpoint, ties it, and gives what `tie` says of the state."""
    save(tree, path, sync=False)
    assert main(["tie", str(path), *TIE, "-o", str(tied(path)), "--no-sync", "--json", *options]) == 0
    return list(json.loads(capsys.readouterr().out)["state"])


def tied(path: Path) -> Path:
    """Names the tied checkpoint."""
    return path.with_name("tied-" + path.name)


def largest_difference(left: Any, right: Any, within: float = 1e-14) -> dict[str, float]:
    """Gives how far the leaves of two trees are apart, where they are, in their own size."""
    found, expected = list_leaves(left), list_leaves(right)
    assert found.keys() == expected.keys()
    apart = {}
    for path, leaf in expected.items():
        scale = float(np.abs(np.asarray(leaf)).max(initial=0)) or 1.0
        difference = float(np.abs(np.asarray(found[path], np.float64) - np.asarray(leaf, np.float64)).max(initial=0))
        if difference > within * scale:
            apart[path.spelling] = difference / scale
    return apart


@pytest.mark.parametrize("ending", [".safetensors", ""])
@pytest.mark.parametrize("name", ALL)
def test_copies_that_were_kept_equal_become_one(
    name: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both had the whole gradient, so one of them is the tied state, bit for bit; nothing is summed."""
    run = train(name)
    path = tmp_path / f"model{ending}"
    slots = carry(run.tree(run.copies), path, capsys)

    assert all(slot["exact"] and slot["regime"] in ("replicas", "empty", "counts") for slot in slots)
    back = load(tied(path), like=run.like(), expanded=False)
    assert largest_difference(back, run.like()) == {}


@pytest.mark.parametrize("name", LINEAR)
def test_sums_of_gradients_are_carried_exactly(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Leaves with states of their own: tied, they train on as if they had been tied from the start."""
    run = train(name)
    path = tmp_path / "model"
    slots = carry(run.tree(run.apart), path, capsys)
    back = load(tied(path), like=run.like(), expanded=False)

    assert all(slot["exact"] for slot in slots)
    # `MultiSteps` accumulates in float32 itself.
    within = 1e-6 if name == "accumulated" else 1e-14
    assert largest_difference(back, run.like(), within) == {}
    resumed = jax.tree.map(jax.numpy.asarray, back)
    run.tied, run.state, reference = resumed["params"], resumed["opt_state"], train(name, 3 * STEPS)
    for number in range(STEPS, 3 * STEPS):
        run.step(number)
    # Lion takes signs, so that rounding shows at its own size and no more.
    assert largest_difference(run.like(), reference.like(), 1e-6 if name == "accumulated" else 1e-12) == {}


@pytest.mark.parametrize("name", SQUARED)
def test_squares_are_carried_within_their_bound(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What squares lack is the product of the two gradients: between the bounds of Cauchy and Schwarz, and said."""
    run = train(name)
    path = tmp_path / "model"
    slots = carry(run.tree(run.apart), path, capsys)
    back = list_leaves(load(tied(path), like=run.like(), expanded=False))

    assert {slot["exact"] for slot in slots if slot["rule"].startswith("squares")} == {False}
    apart = list_leaves(run.tree(run.apart))
    for place, leaf in list_leaves(run.like()).items():
        if place.keys[-2:] != ("embed", "w") or place.keys[0] == "params":
            continue
        source = np.asarray(apart[place])
        other = np.asarray(next(apart[path] for path in apart if path.keys == (*place.keys[:-2], "head", "w"))).T
        if any(key in place.keys for key in ("mu", "trace")):
            assert np.allclose(back[place], leaf, rtol=1e-13, atol=1e-18)
        elif "nu_max" not in place.keys:
            low, high = (np.sqrt(source) - np.sqrt(other)) ** 2, (np.sqrt(source) + np.sqrt(other)) ** 2
            slack = 1e-12 * high.max() + 1e-12 + (0.1 if "sum_of_squares" in place.keys else 0.0)
            for value in (np.asarray(leaf), back[place]):
                assert (value >= low - slack).all()
                assert (value <= high + slack).all()
            assert np.allclose(back[place], source + other, rtol=1e-14)


def test_factored_states_that_were_trained_apart_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows and columns have no valid sum; nothing is written, unless a reset is asked for."""
    run = train("adafactor")
    path = tmp_path / "model"
    save(run.tree(run.apart), path, sync=False)

    assert main(["tie", str(path), *TIE, "-o", str(tied(path))]) == 2
    said = capsys.readouterr().err
    assert "no valid rule for `v_" in said
    assert "--state reset" in said
    assert not tied(path).exists()
    assert main(["tie", str(path), *TIE, "-o", str(tied(path)), "--no-sync", "--state", "reset"]) == 0
    back = load(tied(path), like=run.like(), expanded=False)
    fresh = run.optimizer.init(run.tied)
    state = {place: leaf for place, leaf in list_leaves(back).items() if place.keys[0] == "opt_state"}
    for place, leaf in list_leaves({"opt_state": fresh}).items():
        assert np.array_equal(state[place], np.asarray(leaf)), place.spelling


@pytest.mark.parametrize("rows", [6, 9])
def test_factors_of_a_turned_matrix(rows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a square one rows and columns are exchanged, of any other they are not."""
    run = train("adafactor", rows=rows)
    path = tmp_path / "model"
    slots = {slot["alias"]: slot["canonical"] for slot in carry(run.tree(run.copies), path, capsys)}

    rows_of = next(alias for alias in slots if "v_row" in alias)
    assert ("v_col" in slots[rows_of]) == (rows == 6)
    assert largest_difference(load(tied(path), like=run.like(), expanded=False), run.like()) == {}


def test_a_dead_alias_gives_its_state_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where a method overwrites the leaf: it never receives a gradient, and its state stays zero."""
    optimizer, parameters = optax.adam(0.01), make_parameters()
    state = optimizer.init(parameters)
    gradients = jax.grad(loss)(parameters, 0)
    gradients["head"]["w"] = jax.numpy.zeros_like(gradients["head"]["w"])
    _, state = optimizer.update(gradients, state, parameters)
    slots = carry({"params": parameters, "opt_state": state}, tmp_path / "model", capsys)

    assert {slot["regime"] for slot in slots} == {"dead"}
    back = list_leaves(load(tied(tmp_path / "model"), expanded=False))
    for place, leaf in list_leaves({"opt_state": state}).items():
        if "head" not in place.keys:
            found = next(back[path] for path in back if path.keys == place.keys)
            assert np.array_equal(found, np.asarray(leaf))


def test_a_masked_leaf_belongs_to_another_optimizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """State that only one of two leaves has is a conflict, and not to be guessed at."""
    labels = {"embed": {"w": "a"}, "mix": {"w": "a"}, "head": {"w": "b"}}
    optimizer = optax.multi_transform({"a": optax.adam(0.1), "b": optax.adam(0.2)}, labels)
    parameters = make_parameters()
    state = optimizer.init(parameters)
    _, state = optimizer.update(jax.grad(loss)(parameters, 0), state, parameters)
    save({"params": parameters, "opt_state": state}, tmp_path / "model", sync=False)

    assert main(["tie", str(tmp_path / "model"), *TIE, "-o", str(tmp_path / "tied")]) == 2
    assert f"is kept for `{HEAD}` and not for `{EMBED}`" in capsys.readouterr().err


def test_an_average_of_parameters_is_one_of_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It follows as they do, and is never summed; what `optax.ema` keeps of steps has no sum."""
    run = train("adam")
    averages = jax.tree.map(lambda leaf: leaf * 0.5, expand(run.tied, run.ties))
    slots = carry({**run.tree(run.apart), "params_ema": averages}, tmp_path / "model", capsys)
    of_steps = optax.chain(optax.sgd(0.1), optax.ema(0.9))
    state = of_steps.init(averages)
    _, state = of_steps.update(jax.grad(loss)(averages, 0), state, averages)
    save({"params": averages, "opt_state": state}, tmp_path / "steps", sync=False)

    assert [(slot["regime"], slot["exact"]) for slot in slots if slot["slot"] == "params_ema"] == [("parameters", True)]
    back = load(tied(tmp_path / "model"), like={"params_ema": contract(averages, run.ties)}, expanded=False)
    assert largest_difference(back, {"params_ema": contract(averages, run.ties)}, 0.0) == {}
    assert main(["tie", str(tmp_path / "steps"), *TIE, "-o", str(tied(tmp_path / "steps"))]) == 2
    assert "no valid rule for `ema`" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["momentum", "adam", "adafactor"])
def test_untied_and_tied_again_is_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`untie` gives both leaves the state of one, bit for bit; `tie` finds replicas and keeps one."""
    run = train(name)
    path = tmp_path / "model"
    carry(run.tree(run.copies), path, capsys)
    assert main(["untie", str(tied(path)), "--dst", HEAD, "-o", str(tmp_path / "untied"), "--no-sync"]) == 0
    capsys.readouterr()

    before, after = load(path), load(tmp_path / "untied")
    assert largest_difference(after, before) == {}
    again = ["tie", str(tmp_path / "untied"), *TIE, "-o", str(tmp_path / "again"), "--no-sync", "--json"]
    assert main(again) == 0
    assert {slot["regime"] for slot in json.loads(capsys.readouterr().out)["state"]} <= {"replicas", "empty"}
    assert main(["diff", str(tied(path)), str(tmp_path / "again"), "--values"]) == 0


def test_state_in_a_checkpoint_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The parameters are tied first; then their ties are carried over to the state."""
    run = train("adam")
    tree = run.tree(run.copies)
    save(tree["params"], tmp_path / "model.safetensors", sync=False)
    save({"opt_state": tree["opt_state"]}, tmp_path / "optimizer.safetensors", sync=False)
    names = ["--src", "embed.w", "--dst", "head.w", "--transform", "transpose"]
    model, state = str(tmp_path / "model.safetensors"), str(tmp_path / "optimizer.safetensors")
    assert main(["tie", model, *names, "-o", str(tmp_path / "tied.safetensors"), "--no-sync"]) == 0
    said = capsys.readouterr().err
    carry_over = [
        "tie",
        state,
        "--params",
        str(tmp_path / "tied.safetensors"),
        "-o",
        str(tmp_path / "state.safetensors"),
    ]
    assert main([*carry_over, "--no-sync", "--json"]) == 0
    slots = json.loads(capsys.readouterr().out)["state"]

    assert "optimizer.safetensors" in said
    assert {slot["slot"] for slot in slots} == {"mu", "nu"}
    back = load(tmp_path / "state.safetensors", like={"opt_state": run.state}, expanded=False)
    assert largest_difference(back, {"opt_state": run.state}) == {}
