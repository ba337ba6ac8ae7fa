"""Frames: each kind of damage has its own words."""

from __future__ import annotations

import pytest
import zstandard

from tests.unit.checkpoints.ocdbt.databases import MANIFEST_MARK, NODE_MARK, seal
from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.checkpoints.ocdbt.frames import NODE, open_frame, seal_frame
from tiecli.errors import DatabaseError

BODY = b"some body " * 20


def squeeze(body: bytes) -> bytes:
    """Compresses a body without saying how long it is."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(body) + compressor.flush()


@pytest.mark.parametrize(
    "frame",
    [seal(NODE_MARK, BODY), seal(NODE_MARK, squeeze(BODY), compression=1), seal_frame(BODY, NODE)],
    ids=["plain", "zstd without a size", "own"],
)
def test_opens_whole_frames(frame: bytes) -> None:
    """Compressed or not, the body comes back."""
    allowance = Allowance()
    cursor = open_frame(frame, NODE, "`n`", allowance)

    assert (cursor.body, cursor.position, cursor.label) == (BODY, 0, "`n`")
    assert Allowance().left - allowance.left == len(BODY)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "it has 0 bytes, expected 18 or more"),
        (seal(NODE_MARK, BODY)[:17], "it has 17 bytes, expected 18 or more"),
        (seal(MANIFEST_MARK, BODY), "it begins with `0cdb3a2a`, expected `0cdb20de`"),
        (seal(NODE_MARK, BODY)[:40], "it states a length of 218 bytes, 40 are there"),
        (seal(NODE_MARK, BODY) + b"x", "it states a length of 218 bytes, 219 are there"),
        (seal(NODE_MARK, BODY, version=1), "it is of version 1, tiecli knows version 0"),
        (seal(NODE_MARK, BODY, compression=2), "it is compressed by method 2, tiecli knows"),
        (seal(NODE_MARK, BODY, compression=1), r"its compressed bytes do not decode \("),
        (seal(NODE_MARK, squeeze(BODY)[:-4], compression=1), "its compressed bytes are cut short"),
        (seal(NODE_MARK, b"", compression=1), "its compressed bytes are cut short"),
        (seal(NODE_MARK, squeeze(BODY) + b"xy", compression=1), "2 bytes follow its compressed ones"),
        (seal(NODE_MARK, squeeze(BODY) + bytes(9000), compression=1), "9,000 bytes follow its compressed ones"),
    ],
)
def test_names_damage(frame: bytes, message: str) -> None:
    """The message says what was found and what was expected."""
    with pytest.raises(DatabaseError, match=f"^`n` is damaged: {message}") as caught:
        open_frame(frame, NODE, "`n`", Allowance())
    assert caught.value.hints


def test_every_flipped_bit_is_found() -> None:
    """A checksum guards every byte that nothing else does."""
    frame = seal_frame(BODY, NODE)
    for place in range(len(frame)):
        flipped = frame[:place] + bytes([frame[place] ^ 4]) + frame[place + 1 :]
        message = "it begins with" if place < 4 else "it states a length" if place < 12 else "its checksum is"
        with pytest.raises(DatabaseError, match=message):
            open_frame(flipped, NODE, "`n`", Allowance())


@pytest.mark.parametrize("stated", [True, False])
def test_bombs_are_refused_early(stated: bool) -> None:
    """A gigabyte of zeros is not unpacked to learn that it is too much, and a false size is not believed."""
    compressor = zstandard.ZstdCompressor()
    bomb = compressor.compress(bytes(1 << 26)) if stated else squeeze(bytes(1 << 26))

    with pytest.raises(DatabaseError, match="expands to more than 1,000,000 bytes"):
        open_frame(seal(NODE_MARK, bomb, compression=1), NODE, "`n`", Allowance(1_000_000))
