"""Allowance: how much memory the tree of one database may take up, however small its files are.

A few stored bytes can stand for many: compressed ones, keys that share most of themselves with the
key before, and nodes that are reached by many ways. A file made to exhaust memory is refused
before it does.
"""

from __future__ import annotations

from tiecli.errors import DatabaseError

# Four million keys, which is more than the largest models have shards.
_LIMIT = 1 << 30

# Orbax lets a node grow to 100 MB.
_LARGEST = 1 << 28

# What each node counts for beside its bytes, so that many small ones come to an end as well.
_NODE = 16384

# What each key, or name of a data file, counts for beside its bytes.
_ENTRY = 128

_HINT = "Take another step of the run; if Orbax itself saved this one, report it to the authors of tiecli."


class Allowance:
    """What is left of the memory that a database may take up.

    Attributes:
        left: How many bytes.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self.left = limit
        self._limit = limit

    def spend(self, nbytes: int, label: str) -> None:
        """Takes bytes off.

        Raises:
            DatabaseError: There are not as many left.
        """
        self.left -= nbytes
        if self.left < 0:
            raise DatabaseError(
                f"with {label}, the database expands to more than {self._limit:,} bytes, the most that tiecli reads",
                _HINT,
            )

    def spend_entries(self, count: int, nbytes: int, label: str) -> None:
        """Takes off what keys or names of data files count for, which are held as bytes and as text.

        Raises:
            DatabaseError: There is not as much left.
        """
        self.spend(count * _ENTRY + 2 * nbytes, label)

    def spend_body(self, nbytes: int, label: str) -> None:
        """Takes off the bytes of a manifest or a node, packed or unpacked.

        Raises:
            DatabaseError: There are not as many left, or they are more than one node may have.
        """
        if nbytes > _LARGEST:
            raise DatabaseError(f"{label} has more than {_LARGEST:,} bytes, the most that tiecli reads", _HINT)
        self.spend(nbytes, label)

    def spend_node(self, nbytes: int, label: str) -> None:
        """Takes off what a node counts for, however small it is.

        Raises:
            DatabaseError: There is not as much left.
        """
        self.spend(_NODE, label)
        self.spend_body(nbytes, label)

    @property
    def largest(self) -> int:
        """How many bytes the next body may have."""
        return min(self.left, _LARGEST)
