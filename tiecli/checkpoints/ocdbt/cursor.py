"""Cursor: reads numbers and bytes off the body of a manifest or a node, and never past its end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NoReturn

from tiecli.checkpoints.ocdbt.allowance import Allowance
from tiecli.errors import DatabaseError


def refuse(label: str, text: str) -> NoReturn:
    """Refuses a manifest or a node that is damaged.

    Raises:
        DatabaseError: Always.
    """
    raise DatabaseError(
        f"{label} is damaged: {text}",
        "Copy the checkpoint again from where it came from; if it is damaged there too, take another step of the run.",
    )


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

    def take(self, count: int) -> bytes:
        """Reads some bytes.

        Raises:
            DatabaseError: There are fewer.
        """
        start = self.skip(count)
        return self.body[start : self.position]

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

    def read_count(self, what: str, most: int) -> int:
        """Reads how many there are of something that takes a byte or more each.

        Args:
            what: What errors call them.
            most: How many may be.

        Raises:
            DatabaseError: It is more, or as many do not fit into what is left of the body.
        """
        count = self.read_number()
        left = len(self.body) - self.position
        if count > most:
            self.refuse(f"it states {count:,} {what}, expected {most:,} or fewer")
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
        # Most columns hold small numbers only, and bytes are a sequence of those already.
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
            self.refuse(f"a number of more than 64 bits stands among those that begin at byte {start:,}")
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
        left = len(self.body) - self.position
        self.refuse(f"it ends too early: {left:,} bytes follow byte {self.position:,}, expected {count:,} or more")


def _decode(body: bytes, position: int, count: int) -> tuple[list[int], int]:
    numbers = []
    for _ in repeat(None, count):
        number = body[position]
        position += 1
        if number >= 128:
            number &= 127
            shift = 7
            while (byte := body[position]) >= 128:
                # Ten bytes hold 64 bits; a number that goes on and on would take time without end.
                if shift > 56:
                    return [1 << 64], position
                number |= (byte & 127) << shift
                shift += 7
                position += 1
            number |= byte << shift
            position += 1
        numbers.append(number)
    return numbers, position
