"""A small language model trained in torch by any of its optimizers: tied, as replicas, or each leaf by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        """Loads both; nothing may be left over, and only the second name of a shared Parameter may be missing."""
        missing, unexpected = self.model.load_state_dict(parameters, strict=False)
        is_shared = self.model.head.weight is self.model.embed.weight
        assert (missing, unexpected) == (["head.weight"] if is_shared else [], [])
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


def find_distance(found: Training, expected: Training) -> float:
    """Gives how far all parameters together are apart."""
    ours, theirs = found.list_parameters(), expected.list_parameters()
    return math.sqrt(sum(float(((ours[it] - theirs[it]) ** 2).sum()) for it in ours))
