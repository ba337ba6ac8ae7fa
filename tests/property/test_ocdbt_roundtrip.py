"""A database reads back as it was written; spoilt anywhere, it is refused and nothing else."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.checkpoints.ocdbt.databases import MANIFEST_MARK, NODE_MARK, inline, many, point, seal, store
from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.frames import open_frame
from tiecli.checkpoints.ocdbt.tables import is_plain
from tiecli.checkpoints.ocdbt.writing import EncodedDatabase, encode_database
from tiecli.errors import DatabaseError, UnsupportedCheckpointError

numbers = st.integers(0, 300) | st.integers(0, (1 << 62) - 1)
files = st.sampled_from(["d/00", "d/01", "ocdbt.process_0/d/00", "ocdbt.process_11/d/é"])
# Few letters make keys that share much of each other; any text makes all others.
names = st.text("ab/.\0é", max_size=8) | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
contents = st.dictionaries(
    names, st.builds(Value, files, numbers, numbers, st.just(b"")) | st.binary(max_size=200).map(inline), max_size=30
)
sizes = st.sampled_from([1, 50, 300, 1000, 100_000_000])


def read(database: EncodedDatabase) -> Mapping[str, Value]:
    """Reads an encoded database from disk."""
    with tempfile.TemporaryDirectory() as name:
        return read_database(store(Path(name, "db"), database), "db").values


@given(contents, sizes, st.randoms(use_true_random=False))
def test_reads_back(values: dict[str, Value], node_bytes: int, chance: random.Random) -> None:
    """Whatever the keys, the values and the size of the nodes, in the order of the keys' bytes, and ever the same."""
    encoded = encode_database(values, node_bytes)
    found = read(encoded)

    assert found == values
    assert list(found) == sorted(values, key=str.encode)
    shuffled = list(values.items())
    chance.shuffle(shuffled)
    assert encode_database(dict(shuffled), node_bytes) == encoded


@st.composite
def spoil(draw: st.DrawFn, raw: bytes) -> bytes:
    """Flips, drops, repeats or inserts bytes at a few places."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        stop = min(len(raw), start + draw(st.sampled_from([0, 1, 1, 2, 20, 1000])))
        new = draw(st.binary(max_size=2) | st.sampled_from([b"\xff" * 9 + b"\1", b"..", b"/", bytes(30)]))
        raw = raw[:start] + new + draw(st.sampled_from([b"", raw[start:stop]])) + raw[stop:]
    return raw


VALUES = many(40)
WHOLE = {node_bytes: encode_database(VALUES, node_bytes) for node_bytes in (300, 100_000_000)}


@given(st.data(), st.sampled_from([*WHOLE.values()]))
def test_spoilt_files(data: st.DataObject, whole: EncodedDatabase) -> None:
    """Whatever happens to the files, the same values are read, or none."""
    if data.draw(st.booleans()):
        spoilt = whole._replace(manifest=data.draw(spoil(whole.manifest)))
    else:
        spoilt = whole._replace(frames=(data.draw(spoil(whole.nodes)),))

    with contextlib.suppress(DatabaseError):
        assert read(spoilt) == VALUES


def unpack(frame: bytes, mark: bytes) -> bytes:
    """What stands in a frame, unpacked."""
    return open_frame(frame, mark, "`n`", Allowance()).body


FLAT, HIGH = WHOLE[100_000_000], WHOLE[300]
HIGHEST = HIGH.nodes[HIGH.nodes.rindex(NODE_MARK) :]


@given(spoil(unpack(FLAT.manifest, MANIFEST_MARK)))
def test_spoilt_manifests_under_true_checksums(body: bytes) -> None:
    """A manifest that somebody made so is refused, or leads to the values."""
    with contextlib.suppress(DatabaseError, UnsupportedCheckpointError):
        assert read(FLAT._replace(manifest=seal(MANIFEST_MARK, body))) in (VALUES, {})


@given(spoil(unpack(FLAT.nodes, NODE_MARK)) | spoil(unpack(HIGHEST, NODE_MARK)))
@example(unpack(FLAT.nodes, NODE_MARK))
@example(unpack(HIGHEST, NODE_MARK))
def test_spoilt_nodes_under_true_checksums(body: bytes) -> None:
    """A node that somebody made so is refused, or is a database of its own: in order, and inside its directory."""
    frame = seal(NODE_MARK, body)
    manifest = point(HIGH.node_file, len(frame), *body[:1], offset=len(HIGH.nodes))
    try:
        values = read(EncodedDatabase(manifest, HIGH.node_file, (HIGH.nodes, frame)))
    except DatabaseError:
        return
    assert list(values) == sorted(values, key=str.encode)
    for value in values.values():
        assert is_plain(value.file) if value.file else len(value.inline) == value.nbytes
