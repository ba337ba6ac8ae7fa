"""Shard names: `model-00001-of-00002.safetensors`, the set that such a file is one of, and its number in it."""

from __future__ import annotations

import re
from typing import NamedTuple

# Torch's distributed savers put a rank in front; the numbers behind it count that rank's files alone.
_NAME = re.compile(r"(?!shard-\d+-)(?P<stem>.+)-(?P<number>\d{1,9})-of-(?P<total>\d{1,9})\.safetensors", re.DOTALL)


class ShardName(NamedTuple):
    """The name of one file of a set.

    Attributes:
        stem: What the names of the set begin with.
        number: Its number; sets count from 1, some from 0.
        total: How many files the set has, as the name spells it.
    """

    stem: str
    number: int
    total: str

    @property
    def index_name(self) -> str:
        """The name that the index of the set has."""
        return f"{self.stem}.safetensors.index.json"

    def renumber(self, number: int, total: int) -> str:
        """Spells the name of another file of a set of `total`, with as many digits as this one has.

        Example:
            >>> read_shard_name("model-00003-of-00003.safetensors").renumber(2, 2)
            'model-00002-of-00002.safetensors'
        """
        width = len(self.total)
        return f"{self.stem}-{number:0{width}d}-of-{total:0{width}d}.safetensors"


def read_shard_name(name: str) -> ShardName | None:
    """Reads the name of a file; None if it is not numbered as one of a set.

    Example:
        >>> read_shard_name("model-00001-of-00002.safetensors")
        ShardName(stem='model', number=1, total='00002')
        >>> read_shard_name("model.safetensors") is None
        True
    """
    fitting = _NAME.fullmatch(name)
    return fitting and ShardName(fitting["stem"], int(fitting["number"]), fitting["total"])
