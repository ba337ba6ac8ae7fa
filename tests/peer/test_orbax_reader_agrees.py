"""What stock Orbax restores from a checkpoint and what tiecli reads from it is the same, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.peer.orbax_restores import Attempt, Part, RestoredLeaf, Restorer, list_parts
from tests.peer.orbax_ties import CASES, ROOT, Case
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader, Selection
from tiecli.keypaths import KeyPath

every_case = pytest.mark.parametrize("case", CASES, ids=str)

AS_STORED = Attempt("arguments", "found")
"""Orbax gives every array as it is stored, keys of random generators too."""


@every_case
def test_every_leaf_is_read_as_orbax_restores_it(case: Case, restorer: Restorer) -> None:
    """Names, shapes, dtypes and every byte; texts and empty nodes are no leaves but are listed."""
    restored = restorer.restore(case.part, AS_STORED)

    with open_reader(case.root, Selection(item=case.item)) as reader:
        leaves = {
            str(path): (spec.shape, spec.dtype.numpy_name, read_leaf(reader, path))
            for path, spec in reader.specs().items()
        }
        others = {str(path) for path, _ in reader.other_nodes}

    arrays = {path: tuple(leaf) for path, leaf in restored.items() if leaf.dtype not in ("str", "None", "empty")}
    assert leaves == arrays
    assert others == restored.keys() - arrays.keys()


@every_case
def test_blocks_are_cut_out_of_what_orbax_restores(case: Case, restorer: Restorer) -> None:
    """The inner part of every leaf, whatever its chunks."""
    restored = restorer.restore(case.part, AS_STORED)

    with open_reader(case.root, Selection(item=case.item)) as reader:
        for path, spec in reader.specs().items():
            if spec.dtype.kind == "packed":
                continue
            block = reader.read_block(path, tuple((size // 3, size - size // 4) for size in spec.shape))
            whole = np.frombuffer(restored[str(path)].data, block.dtype).reshape(spec.shape)
            inner = whole[tuple(slice(size // 3, size - size // 4) for size in spec.shape)]
            assert (block.shape, block.tobytes()) == (inner.shape, inner.tobytes()), path


def test_every_step_is_its_own(restorer: Restorer) -> None:
    """The step that is named is read, and the latest where none is."""
    parts = list_parts(ROOT / "named-steps")
    assert [part.step for part in parts] == [90, 100]

    read = {part.step: read_step(part, part.step) for part in parts}

    assert read == {part.step: restorer.restore(part, AS_STORED).get("step") for part in parts}
    assert read_step(parts[0], None) == read[parts[-1].step]


def read_step(part: Part, step: int | None) -> RestoredLeaf | None:
    """Reads the leaf `step`, which only some trees have."""
    with open_reader(part.root, Selection(step, part.item)) as reader:
        path = KeyPath(("step",))
        spec = reader.specs().get(path)
        return spec and RestoredLeaf(spec.shape, spec.dtype.numpy_name, read_leaf(reader, path))


def read_leaf(reader: CheckpointReader, path: KeyPath) -> bytes:
    """Reads all bytes of a leaf, in two strides that meet within an element."""
    buffer = bytearray(reader.specs()[path].nbytes)
    cut = len(buffer) // 2 | 1
    for start, stop in ((0, cut), (cut, len(buffer))):
        if start < stop <= len(buffer):
            reader.read_into(path, start, memoryview(buffer)[start:stop])
    return bytes(buffer)
