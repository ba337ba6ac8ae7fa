"""Frames: what stands around every manifest and node: a mark, the length, how it is compressed, a checksum."""

from __future__ import annotations

from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.cursor import Cursor, refuse
from tiecli.checkpoints.ocdbt.numbers import encode_number

MANIFEST = (0x0CDB3A2A).to_bytes(4, "big")
"""What a manifest begins with."""

NODE = (0x0CDB20DE).to_bytes(4, "big")
"""What a node begins with."""

# The mark, the length of all, format and compression in a byte each or more, the checksum.
_SHORTEST = 4 + 8 + 1 + 1 + 4

# Twelve bytes, and two numbers of ten bytes at most.
_LONGEST_HEAD = 32

_SUMMED = 1 << 20

# Fed in pieces this large, a decompressor returns 32 MB at most before its output is counted.
_PIECE = 1024

# Source: tensorstore's default where `compression` is `{"id": "zstd"}`.
_LEVEL = 0


def open_frame(frame: bytes, mark: bytes, label: str, allowance: Allowance) -> Cursor:
    """Checks a frame and decompresses its body.

    Args:
        frame: All of it.
        mark: What it has to begin with.
        label: What errors call it, quotes included.
        allowance: What its body may expand to.

    Raises:
        DatabaseError: It is damaged, or of a version that tiecli does not know.
    """
    if len(frame) < _SHORTEST:
        refuse(label, f"it has {len(frame)} bytes, expected {_SHORTEST} or more")
    if not frame.startswith(mark):
        refuse(label, f"it begins with `{frame[:4].hex()}`, expected `{mark.hex()}`")
    stated = int.from_bytes(frame[4:12], "little")
    if stated != len(frame):
        refuse(label, f"it states a length of {stated:,} bytes, {len(frame):,} are there")
    # A node may have many megabytes: it is summed and cut in pieces, not copied whole.
    found, expected = _checksum(frame), int.from_bytes(frame[-4:], "little")
    if found != expected:
        refuse(label, f"its checksum is `{found:08x}`, expected `{expected:08x}`")
    cursor = Cursor(frame[: min(_LONGEST_HEAD, len(frame) - 4)], label, allowance)
    cursor.skip(12)
    version, compression = cursor.read_numbers(2)
    if version != 0:
        refuse(label, f"it is of version {version}, tiecli knows version 0")
    stored = memoryview(frame)[cursor.position : -4]
    if compression == 1:
        body = _decompress(stored, label, allowance)
    elif compression == 0:
        body = bytes(stored)
    else:
        refuse(label, f"it is compressed by method {compression}, tiecli knows 0 (none) and 1 (zstd)")
    allowance.spend_body(len(body), label)
    return Cursor(body, label, allowance)


def _checksum(frame: bytes) -> int:
    import google_crc32c

    found, end = 0, len(frame) - 4
    for start in range(0, end, _SUMMED):
        found = google_crc32c.extend(found, frame[start : min(start + _SUMMED, end)])
    return found


def _decompress(body: memoryview, label: str, allowance: Allowance) -> bytes:
    import zstandard

    decompressor = zstandard.ZstdDecompressor().decompressobj()
    pieces, size = [], 0
    try:
        for start in range(0, len(body), _PIECE):
            piece = decompressor.decompress(body[start : start + _PIECE])
            pieces.append(piece)
            size += len(piece)
            if size > allowance.largest:
                allowance.spend_body(size, label)
            if decompressor.eof:
                _expect_end(len(body) - start - _PIECE, decompressor.unused_data, label)
                break
        else:
            refuse(label, "its compressed bytes are cut short")
    except zstandard.ZstdError as error:
        refuse(label, f"its compressed bytes do not decode ({error})")
    return b"".join(pieces)


def _expect_end(unread: int, unused: bytes, label: str) -> None:
    trailing = max(0, unread) + len(unused)
    if trailing:
        refuse(label, f"{trailing:,} bytes follow its compressed ones")


def seal_frame(body: bytes, mark: bytes) -> bytes:
    """Compresses a body and puts a frame around it."""
    import google_crc32c
    import zstandard

    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(body)
    head = encode_number(0) + encode_number(1)
    length = len(mark) + 8 + len(head) + len(compressed) + 4
    frame = mark + length.to_bytes(8, "little") + head + compressed
    checksum: int = google_crc32c.value(frame)
    return frame + checksum.to_bytes(4, "little")
