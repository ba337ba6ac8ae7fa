"""Databases made for tests: a written one, a random one, and frames and nodes put together by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import google_crc32c

from tiecli.checkpoints.ocdbt.database import Value
from tiecli.checkpoints.ocdbt.numbers import encode_number, encode_numbers
from tiecli.checkpoints.ocdbt.tables import encode_table
from tiecli.checkpoints.ocdbt.writing import EncodedDatabase, encode_database

NODE_MARK = bytes.fromhex("0cdb20de")
MANIFEST_MARK = bytes.fromhex("0cdb3a2a")


def inline(value: bytes) -> Value:
    """A value that stands in the tree."""
    return Value("", 0, len(value), value)


def many(count: int) -> dict[str, Value]:
    """As many values, half of them inline, in the order of their keys."""
    values = {}
    for number in range(count):
        name = f"params.layers_{number // 2 % 7}.kernel_{number // 2:06}"
        if number % 2:
            values[f"{name}/0.0"] = Value(
                f"ocdbt.process_{number % 3}/d/{number % 5:032x}", 1000 * number, 1000 + number
            )
        else:
            values[f"{name}/.zarray"] = inline(b'{"shape":[%d]}' % number)
    return dict(sorted(values.items()))


def store(directory: Path, database: EncodedDatabase) -> Path:
    """Writes an encoded database, but none of its values."""
    (directory / "d").mkdir(parents=True)
    (directory / "manifest.ocdbt").write_bytes(database.manifest)
    (directory / database.node_file).write_bytes(database.nodes)
    return directory


def write(directory: Path, values: Mapping[str, Value], node_bytes: int = 100_000_000) -> Path:
    """Encodes and writes a database, but none of its values."""
    return store(directory, encode_database(values, node_bytes))


def seal(mark: bytes, body: bytes, version: int = 0, compression: int = 0, length: int | None = None) -> bytes:
    """Puts a frame around a body; what it states can be false, its checksum never is."""
    frame = bytes([version, compression]) + body
    frame = mark + (len(frame) + 16 if length is None else length).to_bytes(8, "little") + frame
    return frame + google_crc32c.value(frame).to_bytes(4, "little")


def leaf(
    keys: Sequence[tuple[int, bytes]], values: Sequence[bytes] = (), table: bytes = b"\0", count: int | None = None
) -> bytes:
    """The body of a leaf: for each key what it shares with the one before, and the rest; values are inline."""
    values = values or [b""] * len(keys)
    return b"".join(
        [
            b"\0",
            table,
            encode_number(len(keys) if count is None else count),
            encode_numbers([shared for shared, _ in keys[1:]]),
            encode_numbers([len(rest) for _, rest in keys]),
            *[rest for _, rest in keys],
            encode_numbers([len(value) for value in values]),
            bytes(len(values)),
            *values,
        ]
    )


def interior(height: int, below: Sequence[tuple[bytes, int, int, int]], file: str = "d/n") -> bytes:
    """The body of a node above others: for each its first key, how much of that is shared, offset and length."""
    keys, shared, offsets, lengths = zip(*below, strict=True)
    count = len(below)
    columns = ([0] * (count - 1), [len(key) for key in keys], shared)
    return b"".join(
        [
            bytes([height]),
            encode_table([file]),
            encode_number(count),
            *map(encode_numbers, columns),
            *keys,
            *map(encode_numbers, ([0] * count, offsets, lengths, *[[0] * count] * 3)),
        ]
    )


def point(file: str, nbytes: int, height: int = 0, offset: int = 0) -> bytes:
    """A manifest that points at a root."""
    versions = b"\1\1" + bytes([height, 0]) + encode_numbers([offset, nbytes, 1, 1, 0]) + bytes(8)
    return seal(MANIFEST_MARK, configure() + encode_table([file]) + versions + b"\0")


def configure(kind: int = 0, arity: int = 4, compression: int = 0) -> bytes:
    """The configuration that a manifest begins with."""
    return bytes(16) + bytes([kind]) + encode_numbers([1024, 100_000_000]) + bytes([arity, compression])


def store_nodes(directory: Path, *frames: bytes) -> Path:
    """Writes nodes, one behind the other into one file, and a manifest that points at the last."""
    raw = b"".join(frames)
    height = frames[-1][14]
    (directory / "d").mkdir(parents=True, exist_ok=True)
    (directory / "d/n").write_bytes(raw)
    (directory / "manifest.ocdbt").write_bytes(point("d/n", len(frames[-1]), height, len(raw) - len(frames[-1])))
    return directory
