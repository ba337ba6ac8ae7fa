"""Documents and chunks that were spoilt anywhere are refused, or read; they never fail in another way."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies_zarr import documents, thresholds
from tests.unit.checkpoints.zarr.zarrs import limits, open_leaf, read, read_all, store
from tiecli.checkpoints.zarr.arrays import parse_array
from tiecli.errors import CheckpointError, UnsupportedCheckpointError

odd = (
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 1, 3, 2**31, 2**63, 2**64, 10**40, 0.5, "", "C", ">f4", "zstd", "int4"])
    | st.lists(st.integers(-1, 9), max_size=5)
    | st.sampled_from([{}, {"name": "zstd"}, {"name": "transpose"}, {"id": "blosc"}, [{}], [[]], [{"name": "bytes"}]])
)


def places_of(node: Any) -> list[tuple[Any, Any]]:
    """Every member and every item of a document: what holds it, and under which key."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in inside for place in ((node, key), *places_of(value))]


@given(documents, st.data())
def test_spoilt_members(document: dict[str, Any], data: st.DataObject) -> None:
    """Any value in place of any other makes a refusal, or a document that can be used."""
    spoilt = json.loads(json.dumps(document))
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(places_of(spoilt)))
        if data.draw(st.booleans()) and isinstance(holder, dict):
            holder.pop(key, None)
        else:
            # What was put in may be spoilt next, and not for the examples that follow.
            holder[key] = copy.deepcopy(data.draw(odd))
    with contextlib.suppress(CheckpointError):
        metadata = parse_array(json.dumps(spoilt).encode(), "w")
        assert len(metadata.encoding) < 1000
        assert parse_array(metadata.to_bytes(), "w") == metadata
        with contextlib.suppress(UnsupportedCheckpointError):
            metadata.permute(tuple(range(len(metadata.spec.shape)))[::-1])
        for key in metadata.chunk_keys():
            assert key


@given(documents, st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_spoilt_texts(document: dict[str, Any], at: int, new: bytes, dropped: int) -> None:
    """Any bytes in place of others, too."""
    raw = json.dumps(document).encode()
    with contextlib.suppress(CheckpointError):
        assert parse_array(raw[:at] + new + raw[at + dropped :], "w").codec


@given(st.binary(max_size=40))
def test_any_bytes(raw: bytes) -> None:
    """Nothing else is taken for a document."""
    with contextlib.suppress(CheckpointError):
        assert parse_array(raw, "w").version in (2, 3)


@given(documents, st.randoms(use_true_random=False), st.integers(1, 3), thresholds)
def test_spoilt_chunks(document: dict[str, Any], chance: random.Random, changes: int, threshold: int | None) -> None:
    """Bytes changed, dropped or added in a chunk make a refusal, or values of the right size."""
    metadata = read(document)
    stored = store(metadata, bytes(number % 256 for number in range(metadata.spec.nbytes)), 1000)
    key = chance.choice(list(stored))
    raw = bytearray(stored[key])
    for _ in range(changes):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(4):
            case 0:
                raw[at : at + 1] = chance.randbytes(1)
            case 1:
                del raw[at:]
            case 2:
                raw[at:at] = chance.randbytes(chance.randrange(1, 9))
            case _:
                del raw[at : at + chance.randrange(1, 9)]
    leaf = open_leaf(metadata, stored | {key: bytes(raw)})
    with limits(threshold):
        with contextlib.suppress(CheckpointError):
            assert len(read_all(leaf)) == metadata.spec.nbytes
        itemsize = metadata.spec.dtype.bits // 8
        with contextlib.suppress(CheckpointError):
            assert len(leaf.read_pieces([(metadata.spec.nbytes - itemsize, itemsize), (0, itemsize)])) == 2 * itemsize
