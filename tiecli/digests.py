"""Digests: how bytes are told by 128 bits, spelled in one way wherever they are recorded."""

from __future__ import annotations

from typing import Self

SCHEME = "xxh3_128"


class Digest:
    """A digest in the making; `str` gives `xxh3_128:` and 32 hex digits for what came so far."""

    def __init__(self) -> None:
        # Imported here, since whoever only reads a manifest makes no digest.
        from xxhash import xxh3_128

        self._state = xxh3_128()

    def update(self, block: bytes | bytearray | memoryview) -> None:
        """Takes in the next bytes."""
        self._state.update(block)

    def copy(self) -> Self:
        """Gives a digest of the same bytes that goes its own way from here."""
        twin = type(self)()
        twin._state = self._state.copy()
        return twin

    def __str__(self) -> str:
        return f"{SCHEME}:{self._state.hexdigest()}"


def digest_bytes(raw: bytes) -> str:
    """Digests bytes that are all at hand."""
    digest = Digest()
    digest.update(raw)
    return str(digest)


def is_digest(text: str) -> bool:
    """Whether a text is spelled like a digest.

    Example:
        >>> is_digest(digest_bytes(b"")), is_digest("sha256:00")
        (True, False)
    """
    scheme, _, digits = text.partition(":")
    return scheme == SCHEME and len(digits) == 32 and not digits.strip("0123456789abcdef")
