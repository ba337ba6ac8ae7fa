"""Restoring with stock Orbax on eight host devices, in a process of its own: requests come in on stdin.

Started by `orbax_restores.py`, since the number of devices is settled when jax starts, and since jax
and Orbax take seconds to import.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

Keys = tuple[str | int, ...]
DEVICES = 8
WIDE = ("int64", "uint64", "float64", "complex128")
"""Dtypes that jax narrows, so that their leaves stay numpy arrays."""


def restore_pytree(request: Any, target: Any) -> Any:
    """Restores an item by `PyTreeCheckpointer`."""
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        if target is None:
            return checkpointer.restore(request.path)
        arguments = ocp.checkpoint_utils.construct_restore_args(target)
        return checkpointer.restore(request.path, item=target, restore_args=arguments)


def restore_arguments(request: Any, target: Any) -> Any:
    """Restores an item by `PyTreeCheckpointer` without a target, each leaf asked for as a numpy array."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp
    from orbax.checkpoint.metadata import StringMetadata

    def ask(leaf: Any) -> Any:
        return ocp.RestoreArgs(restore_type=str if isinstance(leaf, StringMetadata) else np.ndarray)

    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(request.path).item_metadata.tree
        return checkpointer.restore(request.path, restore_args=jax.tree.map(ask, tree))


def restore_standard(request: Any, target: Any) -> Any:
    """Restores an item by `StandardCheckpointer`."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(request.path, target)


def restore_manager(request: Any, target: Any) -> Any:
    """Restores a step by `CheckpointManager`: all of it without a target, one item with one."""
    import orbax.checkpoint as ocp

    prefix, digits = _split_step_name(request)
    options = ocp.CheckpointManagerOptions(
        step_prefix=prefix, step_format_fixed_length=len(digits) if digits[0] == "0" else None, create=False
    )
    with ocp.CheckpointManager(request.root, options=options) as manager:
        if target is None:
            restored = manager.restore(request.step)
            return restored[request.item] if isinstance(restored, ocp.args.Composite) else restored
        arguments = ocp.args.StandardRestore(target)
        if request.item == "default":
            return manager.restore(request.step, args=arguments)
        return manager.restore(request.step, args=ocp.args.Composite(**{request.item: arguments}))[request.item]


def _split_step_name(request: Any) -> tuple[str | None, str]:
    name = re.fullmatch(r"(?:(.+)_)?([0-9]+)", Path(request.path).parent.name)
    assert name is not None
    return name[1], name[2]


def restore_v1(request: Any, target: Any) -> Any:
    """Restores an item by the `load` of the new API, from the directory that holds the items where there is one."""
    from orbax.checkpoint.experimental import v1 as ocp

    if request.item is None:
        return ocp.load(request.path, target)
    return ocp.load(Path(request.path).parent, target, checkpointable_name=request.item)


def restore_v1_all(request: Any, target: Any) -> Any:
    """Restores all items by the `load_checkpointables` of the new API."""
    from orbax.checkpoint.experimental import v1 as ocp

    abstract = None if target is None else {request.item: target}
    return ocp.load_checkpointables(Path(request.path).parent, abstract)[request.item]


def restore_training(request: Any, target: Any) -> Any:
    """Restores a step by the training checkpointer of the new API."""
    from orbax.checkpoint.experimental import v1 as ocp

    with ocp.training.Checkpointer(request.root) as checkpointer:
        return checkpointer.load(request.step, target, checkpointable_name=request.item)


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "pytree": restore_pytree,
    "arguments": restore_arguments,
    "standard": restore_standard,
    "manager": restore_manager,
    "v1": restore_v1,
    "v1_all": restore_v1_all,
    "training": restore_training,
}


def restore_values(part: Any) -> Any:
    """Restores an item however that can be done without a target."""
    try:
        return restore_pytree(part, None)
    except ValueError:  # it was saved on devices that are not here
        return restore_arguments(part, None)


def make_target(tree: Any, form: str) -> Any:
    """Makes the target of a restored tree: empty arrays, or shapes over eight devices, sharded as nothing was saved."""
    import jax
    import numpy as np

    def make(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=choose_sharding(()))
        if isinstance(leaf, jax.Array | np.ndarray):
            if form == "sharded" and leaf.dtype not in WIDE:
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=choose_sharding(leaf.shape))
            return np.empty(leaf.shape, leaf.dtype)
        return type(leaf)()

    return jax.tree.map(make, tree)


def choose_sharding(shape: tuple[int, ...]) -> Any:
    """Spreads the last axis that can be spread over as many of 2×4 devices as divide it."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("left", "right"))
    for axis in reversed(range(len(shape))):
        for names, count in ((("left", "right"), 8), ("right", 4), ("left", 2)):
            if shape[axis] % count == 0:
                return NamedSharding(mesh, PartitionSpec(*[None] * axis, names))
    return NamedSharding(mesh, PartitionSpec())


def list_leaves(tree: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Lists the leaves of a restored tree; None and an empty node count as leaves, so that neither is overlooked."""
    if hasattr(tree, "_fields"):
        tree = tree._asdict()
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from list_leaves(value, (*keys, str(key)))
    elif isinstance(tree, list | tuple) and tree:
        for index, value in enumerate(tree):
            yield from list_leaves(value, (*keys, index))
    else:
        yield keys, tree


def describe(leaf: Any, form: str) -> tuple[tuple[int, ...], str, bytes]:
    """Gives shape, dtype and bytes of a leaf; of None and empty nodes, their kind alone."""
    import jax
    import numpy as np

    if leaf is None or isinstance(leaf, dict | list | tuple):
        return (), "empty" if leaf is not None else "None", b""
    if isinstance(leaf, str):
        return (), "str", leaf.encode()
    if isinstance(leaf, jax.Array):
        if form == "sharded":
            assert len(leaf.sharding.device_set) == DEVICES
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf.shape, str(leaf.dtype), np.asarray(jax.random.key_data(leaf)).tobytes()
    values = np.asarray(leaf)
    return values.shape, values.dtype.name, values.tobytes()


def save(saving: Any) -> None:
    """Saves a tree as an item that stands alone."""
    import jax
    import orbax.checkpoint as ocp

    tree = jax.tree.map(lambda leaf: place(leaf, spread=saving.spread), saving.tree)
    cut = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=saving.chunk_byte_size), tree)
    options = {name: getattr(saving, name) for name in ("use_ocdbt", "use_zarr3", "use_compression")}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as checkpointer:
        checkpointer.save(saving.path, args=ocp.args.PyTreeSave(tree, save_args=cut))


def place(leaf: Any, *, spread: bool) -> Any:
    """Puts an array on one device, or over 4×2 of them: its first axes that can be are spread, or it is replicated."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    if leaf.dtype in WIDE:
        return leaf
    if not spread:
        return jax.device_put(leaf, jax.devices()[0])
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("fsdp", "tensor"))
    free = [("fsdp", 4), ("tensor", 2)]
    names: list[str | None] = []
    for size in leaf.shape:
        fitting = [axis for axis in free if size % axis[1] == 0][:1]
        names += [axis[0] for axis in fitting] or [None]
        free = [axis for axis in free if axis not in fitting]
    return jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*names)))


def resume(resuming: Any) -> list[int]:
    """Restores the latest step of a CheckpointManager, saves it as the next, and lists the steps."""
    import orbax.checkpoint as ocp

    root, *_ = resuming
    options = ocp.CheckpointManagerOptions(**dict(zip(resuming._fields[1:], resuming[1:], strict=True)))
    with ocp.CheckpointManager(root, options=options) as manager:
        latest = manager.latest_step()
        manager.save(latest + 1, args=ocp.args.StandardSave(manager.restore(latest)))
        manager.wait_until_finished()
        return list(manager.all_steps())


def answer(request: Any) -> dict[Keys, tuple[tuple[int, ...], str, bytes]]:
    """Restores as requested."""
    target = None
    if request.form != "found":
        target = make_target(restore_values(request.like or request), request.form)
    restored = WAYS[request.way](request, target)
    return {keys: describe(leaf, request.form) for keys, leaf in list_leaves(restored)}


ACTS: dict[str, Callable[[Any], Any]] = {"Request": answer, "Saving": save, "Resuming": resume}


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until there are no more; an exception is an answer too."""
    with contextlib.suppress(EOFError):
        while True:
            request = pickle.load(requests)
            try:
                result: Any = ACTS[type(request).__name__](request)
            except Exception as error:  # noqa: BLE001  # whatever Orbax raises is what the test wants to know
                result = f"{type(error).__name__}: {error}"
            pickle.dump(result, answers)
            answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    spoken = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    serve(sys.stdin.buffer, spoken)
