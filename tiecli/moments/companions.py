"""Companions: what stands beside the slots of a leaf, and by its path, and goes by no name that is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.moments.surveying import StateSurvey
from tiecli.slots import Keys, SlotTree

# Source: optax 0.2 (`count`, `mini_step`, `t`, …) and torch.optim (`step`). What drives a schedule is not among them.
_COUNTS = frozenset({"count", "count_m2", "step", "t", "mini_step", "inner_count"})
# Below more keys than this no tree of parameters begins, where no slot tells.
_DEEPEST = 2

# Source: the optimizers' own code: pytorch_optimizer, SOAP, Adam-mini, GaLore, optax.contrib, bitsandbytes.
_MAKERS = {
    "GG": "SOAP",
    "Q": "SOAP",
    "preconditioner": "Shampoo",
    "preconditioners": "Shampoo",
    "statistics": "Shampoo",
    "precond": "Shampoo",
    "inv_precond": "Shampoo",
    "factor_matrices": "Shampoo",
    "vmean": "Adam-mini",
    "projector": "GaLore",
    "absmax1": "bitsandbytes",
    "qmap1": "bitsandbytes",
    "diff_params_memory": "L-BFGS",
    "step_sizes": "Rprop",
    "step_size": "Rprop",
}


class Companion(NamedTuple):
    """A leaf that an optimizer keeps for one parameter.

    Attributes:
        path: Where it stands.
        spec: Its shape and dtype.
        start: Where the parameter's path begins in its own.
        root: What the parameter's path begins with besides.
        owner: The parameter.
    """

    path: KeyPath
    spec: LeafSpec
    start: int
    root: Keys
    owner: Keys

    @property
    def name(self) -> str:
        """What it is called, as far as that shows."""
        end = self.start + len(self.owner) - len(self.root)
        keys = [*self.path.keys[end:], *reversed(self.path.keys[: self.start])]
        return next((key for key in keys if isinstance(key, str) and not key.isdecimal()), str(keys[0]))

    @property
    def maker(self) -> str:
        """The optimizer that is known to keep such leaves; empty for most."""
        return _MAKERS.get(self.name.rstrip("_0123456789"), "")

    def find_twin(self, parameter: KeyPath) -> KeyPath | None:
        """Gives where the like is kept for another parameter."""
        if parameter.keys[: len(self.root)] != self.root:
            return None
        end = self.start + len(self.owner) - len(self.root)
        keys = self.path.keys
        return KeyPath(keys[: self.start] + parameter.keys[len(self.root) :] + keys[end:])


def find_companions(survey: StateSurvey) -> Mapping[Keys, tuple[Companion, ...]]:
    """Finds what else is kept for parameters, by parameter.

    A leaf is a parameter's if that one's whole path, but for what all parameters begin with,
    stands in its own.
    """
    report = survey.report
    known = {leaf.keys for tree in report.trees for leaf in (*tree.held.values(), *tree.orphans.values())}
    modules = set(_list_modules(report.trees))
    others = [
        path
        for path in survey.leaves
        if path.keys not in known and (survey.is_state(path.keys) or path.keys[:-1] in modules)
    ]
    found: dict[Keys, list[Companion]] = {}
    for roots in _list_roots(survey) if others else ():
        owners = _index_owners(report.parameters, roots)
        for path in others:
            companion = _find_owner(path, survey.leaves[path], owners)
            if companion is not None:
                found.setdefault(companion.owner, []).append(companion)
        if found:
            break
    return {owner: tuple(companions) for owner, companions in found.items()}


def list_counts(survey: StateSurvey) -> Iterator[KeyPath]:
    """Yields the counts by which optimizers correct what they gathered; those that drive a schedule stay."""
    trees = [tree for tree in survey.report.trees if tree.kind != "copy"]
    places = {tree.above for tree in trees if tree.is_first} | set(_list_modules(trees))
    shared = {tree.above for tree in trees if not tree.is_first}
    for path, spec in survey.leaves.items():
        keys = path.keys
        if spec.size == 1 and keys[-1] in _COUNTS:
            below = survey.is_state(keys) and any(keys[: len(above)] == above for above in shared)
            if keys[:-1] in places or below:
                yield path


def find_globals(survey: StateSurvey) -> Mapping[Keys, KeyPath]:
    """Finds numbers that an optimizer learns from all parameters together, by where its slots stand."""
    places = {tree.above for tree in survey.report.trees if tree.is_first and tree.kind != "copy"}
    return {
        path.keys[:-1]: path
        for path, spec in survey.leaves.items()
        if path.keys[:-1] in places and spec.size == 1 and spec.dtype.kind == "float"
    }


def is_count(path: KeyPath) -> bool:
    """Whether a leaf goes by the name of a count."""
    return path.keys[-1] in _COUNTS


def _list_modules(trees: Iterable[SlotTree]) -> Iterator[Keys]:
    """Yields the places of what is kept for single parameters, where names of slots come last."""
    return (leaf.keys[:-1] for tree in trees if not tree.is_first for leaf in tree.held.values())


def _list_roots(survey: StateSurvey) -> Iterator[Collection[Keys]]:
    """Yields what parameters' paths may begin with that what is kept for them lacks, the likeliest first."""
    roots = {tree.root for tree in survey.report.trees}
    if roots:
        yield roots
        return
    for count in range(_DEEPEST + 1):
        yield {keys[:count] for keys in survey.report.parameters if len(keys) > count}


def _index_owners(parameters: Iterable[Keys], roots: Collection[Keys]) -> Mapping[Keys, tuple[Keys, Keys] | None]:
    """Indexes parameters by their paths without their roots; None where two have one in common."""
    owners: dict[Keys, tuple[Keys, Keys] | None] = {}
    lengths = {len(root) for root in roots}
    for keys in parameters:
        for length in lengths:
            if keys[:length] in roots and len(keys) > length:
                rest = keys[length:]
                owners[rest] = None if rest in owners else (keys, keys[:length])
    return owners


def _find_owner(path: KeyPath, spec: LeafSpec, owners: Mapping[Keys, tuple[Keys, Keys] | None]) -> Companion | None:
    """Finds the parameter whose path stands in that of a leaf; of several, the longest."""
    keys = path.keys
    for length in range(len(keys) - 1, 0, -1):
        for start in range(len(keys) - length + 1):
            found = owners.get(keys[start : start + length])
            if found is not None:
                return Companion(path, spec, start, found[1], found[0])
    return None
