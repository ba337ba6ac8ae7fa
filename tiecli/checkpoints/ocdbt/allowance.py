"""Allowance: how much memory the tree of one database may take up, however small its files are.

A few stored bytes can stand for many: compressed ones, keys that share most of themselves with the
key before, and nodes that are reached by many ways. A file made to exhaust memory is refused
before it does.
"""

from __future__ import annotations

from tiecli.errors import DatabaseError

# Five million keys, which is more than the largest models have shards.
_LIMIT = 1 << 30

# What each node counts for beside its bytes, so that many small ones come to an end as well.
_NODE = 16384

# What each key, or name of a data file, counts for beside its bytes.
_ENTRY = 128


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
                "Take another step of the run; if this one was made by Orbax, report it to tiecli.",
            )

    def spend_entries(self, count: int, nbytes: int, label: str) -> None:
        """Takes off what keys or names of data files count for.

        Raises:
            DatabaseError: There is not as much left.
        """
        self.spend(count * _ENTRY + nbytes, label)

    def spend_node(self, nbytes: int, label: str) -> None:
        """Takes off what a node counts for, however small it is.

        Raises:
            DatabaseError: There is not as much left.
        """
        self.spend(_NODE + nbytes, label)
