"""Digests: how bytes are told by 128 bits, spelled in one way wherever they are recorded."""

from __future__ import annotations

from typing import Self

SCHEME = "xxh3_128"
STORED_SCHEME = "stored_xxh3_128"
"""Over bytes as they are stored, with what they mean before them; the other is over a leaf's values in C order."""


class Digest:
    """A digest in the making; `str` gives `xxh3_128:` and 32 hex digits for what came so far."""

    def __init__(self, *, stored: bool = False) -> None:
        # Imported here, since whoever only reads a manifest makes no digest.
        from xxhash import xxh3_128

        self._scheme = STORED_SCHEME if stored else SCHEME
        self._state = xxh3_128()

    def update(self, block: bytes | bytearray | memoryview) -> None:
        """Takes in the next bytes."""
        self._state.update(block)

    def copy(self) -> Self:
        """Gives a digest of the same bytes that goes its own way from here."""
        twin = type(self)()
        twin._scheme = self._scheme
        twin._state = self._state.copy()
        return twin

    def __str__(self) -> str:
        return f"{self._scheme}:{self._state.hexdigest()}"


def digest_bytes(raw: bytes) -> str:
    """Digests bytes that are all at hand."""
    digest = Digest()
    digest.update(raw)
    return str(digest)


def is_of_stored(digest: str) -> bool:
    """Whether a digest is over bytes as they are stored, rather than over the values."""
    return digest.startswith(f"{STORED_SCHEME}:")


def is_digest(text: str) -> bool:
    """Whether a text is spelled like a digest.

    Example:
        >>> is_digest(digest_bytes(b"")), is_digest("sha256:00")
        (True, False)
    """
    scheme, _, digits = text.partition(":")
    return scheme in (SCHEME, STORED_SCHEME) and len(digits) == 32 and not digits.strip("0123456789abcdef")
