"""Training checkpoints to be tied by runs that do not get through: params and what Adam keeps for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

import tiecli
from tests.crash.orbax_sources import Case, Do, untie
from tiecli.keypaths import KeyPath
from tiecli.moments import Policy
from tiecli.plan import TieRequest
from tiecli.pytrees import build_tree, save

Arrays = Mapping[str, NDArray[np.generic]]
REQUESTS = (TieRequest("params.embed", "params.head"),)
TORCH = "optimizer.state.params.{leaf}.{slot}"
OPTAX = "opt_state.{slot}.{leaf}"


def make_leaves(layout: str, *, replicas: bool = False) -> dict[str, NDArray[np.generic]]:
    """Makes a table, its copy, and moments: of each its own, or of both the same."""
    rng = np.random.default_rng(3)
    table = rng.standard_normal((8, 4)).astype(np.float32)
    leaves: dict[str, NDArray[np.generic]] = {f"params.{leaf}": table for leaf in ("embed", "head")}
    moments = [rng.standard_normal((8, 4)).astype(np.float32) for _ in range(2)]
    for slot, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
        for place, leaf in enumerate(("embed", "head")):
            leaves[layout.format(leaf=leaf, slot=slot)] = moments[0 if replicas else place] ** power
    return leaves


def make_file(directory: Path) -> Path:
    """One file."""
    return _twice(directory, ".safetensors", lambda path: save_file({**make_leaves(TORCH)}, path))


def make_shards(directory: Path) -> Path:
    """Two shards, the moments in the second one."""
    return _twice(directory, "", _save_shards)


def make_orbax(directory: Path) -> Path:
    """An Orbax item whose leaves were trained apart."""
    return _twice(directory, "", lambda path: _save_orbax(path, replicas=False))


def make_replicas(directory: Path) -> Path:
    """One whose leaves are copies that were kept equal."""
    return _twice(directory, "", lambda path: _save_orbax(path, replicas=True))


def make_state(directory: Path) -> Path:
    """A file of state, beside one of parameters that are tied already."""
    leaves = make_leaves("{leaf}.{slot}")
    params = {name.removeprefix("params."): leaf for name, leaf in leaves.items() if name.startswith("params.")}
    save_file(params, directory / "all.safetensors")
    request = TieRequest("embed", "head")
    tiecli.tie(directory / "all.safetensors", [request], tiecli.Target(directory / "params.safetensors"))
    slots = {name: leaf for name, leaf in leaves.items() if not name.startswith("params.")}
    return _twice(directory, ".safetensors", lambda path: save_file(slots, path))


def tie(policy: Policy = "carry", mode: str | None = None) -> Do:
    """A run of `tie`."""

    def do(source: Path, target: Path | None) -> object:
        return tiecli.tie(source, REQUESTS, _target(source, target), state=policy, mode=mode)  # type: ignore[arg-type]

    return do


def tie_state(source: Path, target: Path | None) -> object:
    """A run of `tie` whose parameters are elsewhere."""
    return tiecli.tie(source, (), _target(source, target), parameters=source.parent / "params.safetensors")


def untie_and_copy(source: Path, target: Path | None) -> object:
    """Leads back: what was summed is nowhere in the tied checkpoint, and comes from a copy of the first one."""
    untie(source, target)
    return tiecli.copy(source.with_name("first" + source.suffix), source, (), _target(source, target))


def _target(source: Path, target: Path | None) -> tiecli.Target | None:
    return target and tiecli.Target(target, in_place=source == target)


def _twice(directory: Path, suffix: str, write: object) -> Path:
    """Writes a source, and the same again beside it."""
    assert callable(write)
    for name in ("first", "source"):
        write(directory / f"{name}{suffix}")
    return directory / f"source{suffix}"


def _save_shards(path: Path) -> None:
    path.mkdir()
    names: dict[str, str] = {}
    leaves = make_leaves(TORCH)
    for shard, is_state in (("model-1.safetensors", False), ("model-2.safetensors", True)):
        held = {name: leaf for name, leaf in leaves.items() if name.startswith("optimizer") == is_state}
        save_file(held, path / shard, {"format": "pt"})
        names |= dict.fromkeys(held, shard)
    total = sum(leaf.nbytes for leaf in leaves.values())
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def _save_orbax(path: Path, *, replicas: bool) -> None:
    leaves = make_leaves(OPTAX, replicas=replicas)
    save(build_tree({KeyPath.from_name(name): leaf for name, leaf in leaves.items()}), path)


NEW = (
    Case("file", make_file, tie(), untie_and_copy),
    Case("shards", make_shards, tie(), untie_and_copy),
    Case("orbax", make_orbax, tie(), untie_and_copy),
    Case("orbax, reset", make_orbax, tie("reset", "omit"), untie_and_copy),
    Case("file of state", make_state, tie_state, untie_and_copy),
)
IN_PLACE = (
    Case("file", make_file, tie(), untie_and_copy),
    Case("shards", make_shards, tie(), untie_and_copy),
    Case("orbax", make_orbax, tie(), untie_and_copy),
    Case("orbax, replicas omitted", make_replicas, tie("carry", "omit"), untie),
    Case("orbax, reset", make_orbax, tie("reset"), untie_and_copy),
    Case("file of state", make_state, tie_state, untie_and_copy),
)
