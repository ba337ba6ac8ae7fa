"""Numbers: encodes whole numbers in as many bytes as they need, seven bits to a byte."""

from __future__ import annotations

from collections.abc import Sequence


def encode_number(number: int) -> bytes:
    r"""Encodes one number that is not negative.

    >>> encode_number(300)
    b'\xac\x02'
    """
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode_numbers(numbers: Sequence[int]) -> bytes:
    r"""Encodes numbers that are not negative, one after another.

    >>> encode_numbers([1, 300, 2])
    b'\x01\xac\x02\x02'
    """
    if max(numbers, default=0) < 128:
        return bytes(numbers)
    return b"".join(map(encode_number, numbers))
