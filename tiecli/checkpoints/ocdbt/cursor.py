"""Cursor: reads numbers and bytes off the body of a manifest or a node, and never past its end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NoReturn

from tiecli.errors import DatabaseError

_HINT = "Copy the checkpoint again from where it came from; if it is damaged there too, take another step of the run."

# A body that claims more than this was made to exhaust memory: a million keys need a quarter of it.
LIMIT_EXPANDED = 1 << 30

# What each node counts for at least, so that many small ones come to an end as well.
_NODE = 4096


class Allowance:
    """How many bytes the nodes of one database may still expand to.

    A few bytes can stand for many: compressed ones, keys that share a prefix, and nodes that are
    reached by many ways.
    """

    def __init__(self, nbytes: int = LIMIT_EXPANDED) -> None:
        self.left = nbytes

    def spend(self, nbytes: int, label: str) -> None:
        """Takes bytes off.

        Raises:
            DatabaseError: There are not as many left.
        """
        self.left -= nbytes
        if self.left < 0:
            raise DatabaseError(f"{label} expands to more than the {LIMIT_EXPANDED:,} bytes that tiecli reads", _HINT)

    def spend_node(self, label: str) -> None:
        """Takes off what a node counts for, however small it is.

        Raises:
            DatabaseError: There is not as much left.
        """
        self.spend(_NODE, label)


def refuse(label: str, text: str) -> NoReturn:
    """Refuses a manifest or a node that is damaged.

    Raises:
        DatabaseError: Always.
    """
    raise DatabaseError(f"{label} is damaged: {text}", _HINT)


class Cursor:
    """A place in a body.

    Attributes:
        body: All of it.
        position: The next byte to read.
        label: What errors call the manifest or node, quotes included.
        allowance: What it may still expand to.
    """

    def __init__(self, body: bytes, label: str, allowance: Allowance) -> None:
        self.body = body
        self.position = 0
        self.label = label
        self.allowance = allowance

    def refuse(self, text: str) -> NoReturn:
        """Refuses what is being read.

        Raises:
            DatabaseError: Always.
        """
        refuse(self.label, text)

    def take(self, count: int) -> bytes:
        """Reads some bytes.

        Raises:
            DatabaseError: There are fewer.
        """
        start = self.position
        if count > len(self.body) - start:
            self._refuse_end(count)
        self.position = start + count
        return self.body[start : self.position]

    def skip(self, count: int) -> int:
        """Passes over some bytes, and returns where they begin.

        Raises:
            DatabaseError: There are fewer.
        """
        start = self.position
        if count > len(self.body) - start:
            self._refuse_end(count)
        self.position = start + count
        return start

    def read_byte(self) -> int:
        """Reads a single byte as a number.

        Raises:
            DatabaseError: There is none.
        """
        return self.take(1)[0]

    def read_number(self) -> int:
        """Reads a number of variable length.

        Raises:
            DatabaseError: The body ends within it, or it has more than 64 bits.
        """
        return self.read_numbers(1)[0]

    def read_count(self, what: str) -> int:
        """Reads how many there are of something that takes a byte or more each.

        Raises:
            DatabaseError: As many do not fit into what is left of the body.
        """
        count = self.read_number()
        left = len(self.body) - self.position
        if count > left:
            self.refuse(f"it states {count:,} {what}, only {left:,} bytes follow")
        return count

    def read_numbers(self, count: int) -> Sequence[int]:
        """Reads numbers of variable length, one after another.

        Raises:
            DatabaseError: The body ends within them, or one has more than 64 bits.
        """
        start, body = self.position, self.body
        plain = body[start : start + count]
        if plain.isascii() and len(plain) == count:
            self.position = start + count
            return plain
        if count > len(body) - start:
            self._refuse_end(count)
        try:
            numbers, self.position = _decode(body, start, count)
        except IndexError:
            self._refuse_end(count)
        if max(numbers) >> 64:
            self.refuse(f"a number of more than 64 bits among those that begin at byte {start:,}")
        return numbers

    def expect_end(self) -> None:
        """Checks that nothing follows.

        Raises:
            DatabaseError: Something does.
        """
        left = len(self.body) - self.position
        if left:
            self.refuse(f"{left:,} bytes follow its last entry")

    def _refuse_end(self, count: int) -> NoReturn:
        self.refuse(f"it ends within what begins at byte {self.position:,}: {count:,} bytes or more were expected")


def _decode(body: bytes, position: int, count: int) -> tuple[list[int], int]:
    numbers = []
    for _ in repeat(None, count):
        number = body[position]
        position += 1
        if number >= 128:
            number &= 127
            shift = 7
            while (byte := body[position]) >= 128:
                # Ten bytes hold 64 bits; the eleventh, and any later, would only cost time.
                if shift > 63:
                    return [1 << 64], position
                number |= (byte & 127) << shift
                shift += 7
                position += 1
            number |= byte << shift
            position += 1
        numbers.append(number)
    return numbers, position
