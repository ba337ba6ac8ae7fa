"""Training in torch that goes through `tie` goes on as if one Parameter had been shared from the start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Make = Callable[[Any, Any], Any]
STEPS, MORE = 6, 12
TIE = ("--src", "embed.weight", "--dst", "head.weight")
SLOT = "optimizer.state."

LINEAR: dict[str, Make] = {
    "sgd": lambda optim, parameters: optim.SGD(parameters, lr=0.1),
    "momentum": lambda optim, parameters: optim.SGD(parameters, lr=0.1, momentum=0.9),
    "nesterov": lambda optim, parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
    "damped": lambda optim, parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, dampening=0.5),
}
OTHERS: dict[str, Make] = {
    "decayed": lambda optim, parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda optim, parameters: optim.Adam(parameters, lr=0.01),
    "adamw": lambda optim, parameters: optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
    "amsgrad": lambda optim, parameters: optim.Adam(parameters, lr=0.01, amsgrad=True),
    "adamax": lambda optim, parameters: optim.Adamax(parameters, lr=0.01),
    "nadam": lambda optim, parameters: optim.NAdam(parameters, lr=0.01),
    "radam": lambda optim, parameters: optim.RAdam(parameters, lr=0.01),
    "rmsprop": lambda optim, parameters: optim.RMSprop(parameters, lr=0.01),
    "centered": lambda optim, parameters: optim.RMSprop(parameters, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda optim, parameters: optim.Adagrad(parameters, lr=0.01),
    "adadelta": lambda optim, parameters: optim.Adadelta(parameters, lr=0.1),
    "adafactor": lambda optim, parameters: optim.Adafactor(parameters, lr=0.01),
    "rprop": lambda optim, parameters: optim.Rprop(parameters, lr=0.01),
}
ALL = {**LINEAR, **OTHERS}


class Training:
    """A small language model in float64, tied or not, and its optimizer."""

    def __init__(self, torch: Any, name: str, *, tied: bool, turned: bool = False) -> None:
        self.torch = torch
        self.turned = turned
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = torch.nn.Module()
            self.model.embed = torch.nn.Embedding(9, 6, dtype=torch.float64)
            self.model.mix = torch.nn.Linear(6, 6, bias=False, dtype=torch.float64)
        table = self.model.embed.weight
        # A head of its own is stored as `Linear` has it, or turned, as the `Conv1D` of transformers has it.
        own = table.detach().T.contiguous() if turned else table.detach().clone()
        self.model.head = torch.nn.Module()
        self.model.head.weight = table if tied else torch.nn.Parameter(own)
        self.as_linear = tied or not turned
        self.optimizer = ALL[name](torch.optim, list(self.model.parameters()))

    def follow(self, tensor: Any) -> Any:
        """Gives a head's tensor as the embedding's, or the other way round."""
        return tensor.T.contiguous() if self.turned else tensor

    def find_gradients(self, number: int) -> None:
        """Computes the gradients of one step, which has tokens of its own."""
        self.optimizer.zero_grad()
        functional = self.torch.nn.functional
        tokens = (self.torch.arange(7) * 5 + number) % 9
        head = self.model.head.weight if self.as_linear else self.model.head.weight.T
        hidden = self.torch.tanh(self.model.mix(self.model.embed(tokens)))
        functional.cross_entropy(functional.linear(hidden, head), self.torch.roll(tokens, 1)).backward()

    def step(self, number: int, *, synchronised: bool = False) -> None:
        """Takes one step; replicas each get the gradient of both."""
        self.find_gradients(number)
        if synchronised:
            embed, head = self.model.embed.weight, self.model.head.weight
            total = embed.grad + self.follow(head.grad)
            embed.grad, head.grad = total, self.follow(total).clone()
        self.optimizer.step()

    def take_values(self, other: Training) -> None:
        """Takes the values of a tied run, and leaves the optimizer's state alone."""
        with self.torch.no_grad():
            self.model.embed.weight.copy_(other.model.embed.weight)
            self.model.mix.weight.copy_(other.model.mix.weight)
            self.model.head.weight.copy_(self.follow(other.model.embed.weight))

    def list_state(self) -> dict[str, Any]:
        """Lists the optimizer's state by the names of parameters."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return {
            f"{names[id(parameter)]}.{slot}": self.torch.as_tensor(value).clone().contiguous()
            for parameter, slots in self.optimizer.state.items()
            for slot, value in slots.items()
            if value is not None
        }

    def list_parameters(self) -> dict[str, Any]:
        """Lists the parameters, each once."""
        return {name: it.detach().clone().contiguous() for name, it in self.model.named_parameters()}

    def save(self, path: Path) -> Path:
        """Saves parameters and state in one file, as trainers do."""
        from safetensors.torch import save_file

        state = {SLOT + name: value for name, value in self.list_state().items()}
        save_file({**self.list_parameters(), **state}, path, {"format": "pt"})
        return path

    def load(self, parameters: dict[str, Any], state: dict[str, Any]) -> None:
        """Loads both; nothing may be left over, and only the name of the shared Parameter may be missing."""
        missing, unexpected = self.model.load_state_dict(parameters, strict=False)
        assert (missing, unexpected) == (["head.weight"], [])
        document = self.optimizer.state_dict()
        loaded: dict[int, dict[str, Any]] = {}
        names = [name for name, _ in self.model.named_parameters()]
        for name, value in state.items():
            owner, _, slot = name.rpartition(".")
            loaded.setdefault(names.index(owner), {})[slot] = value
        self.optimizer.load_state_dict({**document, "state": loaded})


def train(torch: Any, name: str, steps: int = STEPS) -> Training:
    """Trains a model that was tied from the start."""
    training = Training(torch, name, tied=True)
    for number in range(steps):
        training.step(number)
    return training


def train_apart(torch: Any, name: str, *, turned: bool = False) -> Training:
    """Trains beside a tied run, from whose values each leaf of the untied one gathers its own gradients."""
    reference, apart = Training(torch, name, tied=True), Training(torch, name, tied=False, turned=turned)
    for number in range(STEPS):
        apart.step(number)
        reference.step(number)
        apart.take_values(reference)
    return apart


def resume(torch: Any, name: str, path: Path, state: Path | None = None) -> Training:
    """Loads a tied checkpoint with stock safetensors into a model of one shared Parameter, and trains on."""
    from safetensors.torch import load_file

    leaves = load_file(path)
    slots = {it.removeprefix(SLOT): leaves.pop(it) for it in list(leaves) if it.startswith(SLOT)}
    training = Training(torch, name, tied=True)
    training.load(leaves, load_file(state) if state else slots)
    for number in range(STEPS, STEPS + MORE):
        training.step(number)
    return training


def largest_difference(found: Training, expected: Training) -> float:
    """Gives how far parameters are apart, in the size of the leaf."""
    ours, theirs = found.list_parameters(), expected.list_parameters()
    assert ours.keys() == theirs.keys()
    return max(float((ours[it] - theirs[it]).abs().max() / theirs[it].abs().max()) for it in ours)


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


def find_distance(found: Training, expected: Training) -> float:
    """Gives how far all parameters together are apart."""
    ours, theirs = found.list_parameters(), expected.list_parameters()
    return float(sum(((ours[it] - theirs[it]) ** 2).sum() for it in ours)) ** 0.5


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
    from tiecli.cli.entry import main

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
