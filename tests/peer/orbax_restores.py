"""Restoring checkpoints with stock Orbax, in every way that it offers, to compare them bit for bit."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tiecli.keypaths import KeyPath

Way = Literal["pytree", "arguments", "standard", "manager", "v1", "v1_all", "training"]
Form = Literal["found", "numpy", "sharded"]


class RestoredLeaf(NamedTuple):
    """A leaf as Orbax gave it back: `str` for a text, `None` or `empty` for a node without leaves."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes


Leaves = Mapping[str, RestoredLeaf]


class OrbaxRefusedError(Exception):
    """Stock Orbax raised an exception; its text begins with the class."""


class Attempt(NamedTuple):
    """How to restore.

    Attributes:
        way: By which of the classes and functions of Orbax.
        form: `found` gives no target; `numpy` and `sharded` give one, of numpy arrays or of
            shapes over eight devices, sharded otherwise than anything was saved.
    """

    way: Way
    form: Form

    def __str__(self) -> str:
        return f"{self.way}, {self.form}"


class Part(NamedTuple):
    """One item of a checkpoint.

    Attributes:
        root: The checkpoint: an item itself, a directory of items, or a CheckpointManager root.
        path: The directory of the item.
        item: Its name; None where it stands alone.
        step: Its step; None where there are no steps.
    """

    root: Path
    path: Path
    item: str | None = None
    step: int | None = None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every way in which Orbax offers to restore it, without a target, as numpy, and over eight devices."""
        ways: list[Way] = ["pytree", "standard", "v1"]
        if self.item is not None:
            ways.append("v1_all")
        if self.step is not None:
            ways.append("manager")
            if self.path.parent.name.isdigit():
                ways.append("training")
        forms: tuple[Form, ...] = ("found", "numpy", "sharded")
        return (Attempt("arguments", "found"), *(Attempt(way, form) for way in ways for form in forms))


class Request(NamedTuple):
    """What the other process is asked to restore."""

    root: Path
    path: Path
    item: str | None
    step: int | None
    way: Way
    form: Form
    like: Part | None


class Saving(NamedTuple):
    """What the other process is asked to save.

    Attributes:
        path: Where the item goes.
        tree: Of numpy arrays; those of dtypes that jax has become jax arrays.
        use_ocdbt: A database, or a file a chunk.
        use_zarr3: Zarr 3, or zarr 2.
        use_compression: Whether chunks are compressed.
        chunk_byte_size: About how large a chunk may be.
        spread: Over eight devices, or on one.
    """

    path: Path
    tree: Any
    use_ocdbt: bool = True
    use_zarr3: bool = False
    use_compression: bool = True
    chunk_byte_size: int | None = None
    spread: bool = False


class Resuming(NamedTuple):
    """What the other process is asked to train on from: a CheckpointManager root, whose steps are named as given."""

    root: Path
    step_prefix: str | None
    step_format_fixed_length: int | None
    max_to_keep: int


def list_parts(root: Path) -> tuple[Part, ...]:
    """Lists the items of a checkpoint: by step, then by name."""
    if (root / "_METADATA").exists():
        return (Part(root, root),)
    items = [path.parent for path in sorted(root.glob("*/_METADATA"))]
    if items:
        return tuple(Part(root, path, path.name) for path in items)
    found = [path.parent for path in root.glob("*/*/_METADATA")]
    parts = (Part(root, path, path.name, int(path.parent.name.rpartition("_")[2])) for path in found)
    return tuple(sorted(parts, key=lambda part: (part.step or 0, part.item or "")))


class Restorer:
    """Stock Orbax on eight devices, in a process that lives until this is closed."""

    def __init__(self) -> None:
        flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.peer.orbax_worker"],
            cwd=Path(__file__).parents[2],
            env=os.environ | flags,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._known: dict[Request, Leaves] = {}

    def restore(self, part: Part, attempt: Attempt, like: Part | None = None) -> Leaves:
        """Restores one item; what was restored before is remembered.

        Args:
            part: Which one.
            attempt: How.
            like: Whose tree the target has; its own without one.

        Raises:
            OrbaxRefusedError: Orbax raised an exception.
        """
        request = Request(*part, *attempt, like)
        if request not in self._known:
            found = self._ask(request)
            self._known[request] = {str(KeyPath(keys)): RestoredLeaf(*leaf) for keys, leaf in found.items()}
        return self._known[request]

    def save(self, saving: Saving) -> Part:
        """Saves a tree as an item that stands alone."""
        self._ask(saving)
        return Part(saving.path, saving.path)

    def resume(self, resuming: Resuming) -> tuple[int, ...]:
        """Restores the latest step, saves it as the next, and gives the steps that there are then."""
        return tuple(self._ask(resuming))

    def _ask(self, request: Request | Saving | Resuming) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(request, self._process.stdin)
        self._process.stdin.flush()
        found: Any = pickle.load(self._process.stdout)
        if isinstance(found, str):
            raise OrbaxRefusedError(found)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=60)
