"""Slot names: what optimizers call the leaves that they keep for each parameter, and how a path is read by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Literal, NamedTuple

from tiecli.keypaths import Key

Keys = tuple[Key, ...]
Kind = Literal["linear", "square", "size", "copy", "update", "factor"]
"""How a slot follows from the gradients: as a sum of them, as one of their squares, as the largest
of their absolute values, as a copy of the parameter itself, as an average of the steps that were
made of them, or as rows and columns of a matrix that is not kept."""


def _table(**names: str) -> Mapping[str, Kind]:
    kinds: tuple[Kind, ...] = ("linear", "square", "size", "copy", "update", "factor")
    return MappingProxyType({name: kind for kind in kinds for name in names.get(kind, "").split()})


# Source: optax 0.2, torch.optim, flax.optim and t5x, mlx.optimizers, bitsandbytes, Megatron.
_OWN = _table(
    linear="exp_avg momentum_buffer grad_avg acc_grads grad_ema grad_sum exp_avg_slow exp_avg_diff "
    "neg_pre_grad previous_gradient",
    square="exp_avg_sq max_exp_avg_sq square_avg sum_of_squares grad_sum_sq grad_sq_ema nu_max e_g",
    size="exp_inf",
    copy="params_ema ema_params model_ema ema_model slow_params init_params params0",
    update="acc_delta e_x",
    factor="exp_avg_sq_row exp_avg_sq_col row_var col_var",
)
_COMMON = _table(
    linear="mu m m1 m2 trace momentum state1",
    square="nu v sum vr state2 variance",
    copy="z x0",
    update="ema",
    factor="v_row v_col",
)
SLOTS: Mapping[str, Kind] = MappingProxyType({**_OWN, **_COMMON})
"""Every name. Those that models use as well are slots only within the state of an optimizer."""

HINTS = ("exp_avg", "momentum_buffer", "opt_state", "optim")
"""One of these stands in the names of a safetensors file that holds slots beside parameters; few, for speed."""

_ROOTS = frozenset({"opt", "optim", "tx", "optax", "param_states"})
_ROOT_STARTS = ("opt_state", "optim_", "optimizer")
_TARGET = "target"


class Reading(NamedTuple):
    """One way to read the path of a leaf as that of a slot.

    Attributes:
        slot: The name of the slot.
        above: What stands before the slot's name, or before the path of the parameter.
        path: What stands for the parameter.
        is_first: Whether the name of the slot comes before the path of the parameter, as in
            optax; else it comes after, as in torch.
    """

    slot: str
    above: Keys
    path: Keys
    is_first: bool


def tells_of_state(paths: Iterable[Keys]) -> bool:
    """Whether any key of any path is one that tells of the state of an optimizer: without, no leaf is a slot.

    Every key is looked at once, however many paths have it.

    Example:
        >>> tells_of_state([("encoder", "mu", "w"), ("head", "w")]), tells_of_state([("opt_state", "mu", "w")])
        (False, True)
    """
    return any(key in _OWN or _is_root(key) for key in set(chain.from_iterable(paths)))


def find_root(keys: Keys) -> int | None:
    """Finds the key below which all is the state of an optimizer; its place in the path.

    Example:
        >>> find_root(("state", "opt_state", 0, "mu", "w"))
        1
    """
    for place, key in enumerate(keys):
        if _is_root(key):
            # Flax's old optimizers hold the parameters themselves, too.
            return None if _TARGET in keys[place + 1 : place + 2] else place
    return None


def _is_root(key: Key) -> bool:
    return isinstance(key, str) and (key in _ROOTS or key.startswith(_ROOT_STARTS))


def read_path(keys: Keys, root: int | None) -> Iterator[Reading]:
    """Yields the ways to read a path, the surest first; none if it is no slot's.

    Args:
        keys: The path.
        root: Where the state of an optimizer begins in it.
    """
    last = keys[-1]
    start = 0 if root is None else root + 1
    behind = Reading(str(last), keys[:start], keys[start:-1], is_first=False) if len(keys) - start > 1 else None
    if behind and last in _OWN:
        yield behind
        return
    for place, key in enumerate(keys[:-1]):
        if key in _OWN or (root is not None and place > root and key in _COMMON):
            yield Reading(str(key), keys[:place], keys[place + 1 :], is_first=True)
            break
    if behind and root is not None and last in _COMMON:
        yield behind


def read_paths(paths: Iterable[Keys]) -> Mapping[Keys, Reading]:
    """Reads all paths of slots of a checkpoint; of two ways to read one, the one that most others are read in."""
    found = {keys: tuple(read_path(keys, find_root(keys))) for keys in paths if keys}
    sure = [readings[0].is_first for readings in found.values() if len(readings) == 1]
    first = 2 * sum(sure) >= len(sure)
    return {
        keys: next((reading for reading in readings if reading.is_first == first), readings[0])
        for keys, readings in found.items()
        if readings
    }
