"""Devices: where gradients are computed, and in which precision."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from types import ModuleType
from typing import Any

from tiecli.errors import UsageError

DEVICE_NAMES = ("cpu", "gpu", "tpu")


@dataclass(frozen=True)
class Device:
    """The devices of this process that gradients are computed on, all of one kind.

    Attributes:
        platform: `cpu`, `gpu` or `tpu`.
        devices: jax's, in the order of the mesh.
        mesh_shape: How they are laid out; blocks are dealt out to them in C order.
    """

    platform: str
    devices: tuple[Any, ...]
    mesh_shape: tuple[int, ...]

    def describe(self) -> str:
        """Words where gradients are computed: `cuda:0 (NVIDIA H200), float64`."""
        first = self.devices[0]
        name = str(first) if ":" in str(first) else f"{self.platform}:{first.id}"
        facts = [] if self.platform == "cpu" else [first.device_kind]
        if len(self.devices) > 1:
            facts += [f"{len(self.devices)} devices", f"mesh {'x'.join(map(str, self.mesh_shape))}"]
        shown = f" ({', '.join(facts)})" if facts else ""
        return f"{name}{shown}, float64"

    @cached_property
    def mesh(self) -> Any:
        """The devices as a jax mesh of one axis, `blocks`."""
        import numpy as np
        from jax.sharding import Mesh

        return Mesh(np.array(self.devices), ("blocks",))


def choose_device(name: str | None = None, mesh: str | None = None) -> Device:
    """Chooses where gradients are computed.

    Args:
        name: `cpu`, `gpu` or `tpu`; None for what jax would take.
        mesh: How many local devices, such as `4` or `2x4`; None for all of them.

    Raises:
        UsageError: jax is not installed, or there are no such devices.
    """
    jax = import_jax()
    if name is not None and name not in DEVICE_NAMES:
        raise UsageError(f"`{name}` is no kind of device: expected {', '.join(DEVICE_NAMES)}")
    try:
        found = tuple(jax.local_devices(backend=name))
    except RuntimeError as error:
        there = sorted({device.platform for device in jax.local_devices()})
        raise UsageError(
            f"jax finds no {name} here, only {', '.join(there)}", "Leave out `--device` to take what there is."
        ) from error
    shape = (len(found),) if mesh is None else _parse_mesh(mesh, len(found), found[0].platform)
    return Device(found[0].platform, found[: prod(shape)], shape)


def import_jax() -> ModuleType:
    """Imports jax, which is an optional dependency.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import jax
    except ImportError as error:
        raise UsageError(
            "verify computes gradients with jax, which is not installed here",
            "Run `pip install 'tiecli[verify]'`, or jax for your accelerator.",
        ) from error
    return jax


def float64() -> AbstractContextManager[Any]:
    """Lets jax compute in float64 inside a `with`, in this thread only."""
    jax = import_jax()
    if hasattr(jax, "enable_x64"):
        context: AbstractContextManager[Any] = jax.enable_x64(True)
        return context
    older: AbstractContextManager[Any] = jax.experimental.enable_x64()
    return older


def shard_map() -> Any:
    """Finds jax's `shard_map`, which moved in 0.7."""
    jax = import_jax()
    if hasattr(jax, "shard_map"):
        return jax.shard_map
    from jax.experimental.shard_map import shard_map as found

    return found


def _parse_mesh(text: str, available: int, platform: str) -> tuple[int, ...]:
    if re.fullmatch(r"[1-9][0-9]{0,4}(x[1-9][0-9]{0,4})*", text) is None:
        raise UsageError(f"`{text}` is no mesh: expected a number of devices such as `4`, or `2x4`")
    shape = tuple(int(length) for length in text.split("x"))
    if prod(shape) > available:
        raise UsageError(
            f"a mesh {text} takes {prod(shape)} devices, and jax finds {available} here, of kind {platform}",
            "Leave out `--mesh` to take all there are.",
        )
    return shape
