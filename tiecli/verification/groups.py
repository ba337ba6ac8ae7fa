"""Groups: which ties are looked at together, since they share a stored leaf."""

from __future__ import annotations

from dataclasses import dataclass

from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet


@dataclass(frozen=True, slots=True)
class TieGroup:
    """Stored leaves and everything that follows from them.

    Attributes:
        canonicals: The stored leaves, in the order in which ties name them.
        ties: What follows; every leaf that one of them is made of is among `canonicals`.
    """

    canonicals: tuple[KeyPath, ...]
    ties: tuple[Tie, ...]


def group_ties(ties: TieSet) -> tuple[TieGroup, ...]:
    """Sorts ties into the smallest groups that share no stored leaf; a `concat` joins all that it takes.

    Example:
        >>> from tiecli.transforms import SAME
        >>> a, b, c, d = (KeyPath((name,)) for name in "abcd")
        >>> groups = group_ties(TieSet((Tie(c, (a,), SAME), Tie(d, (b,), SAME))))
        >>> [len(group.ties) for group in groups]
        [1, 1]
    """
    leader: dict[KeyPath, KeyPath] = {}

    def find(path: KeyPath) -> KeyPath:
        """Finds the leaf that stands for all those joined with this one."""
        leader.setdefault(path, path)
        while leader[path] != path:
            leader[path] = leader[leader[path]]
            path = leader[path]
        return path

    for tie in ties:
        for path in tie.canonicals:
            leader[find(path)] = find(tie.canonicals[0])
    joined: dict[KeyPath, list[Tie]] = {}
    for tie in ties:
        joined.setdefault(find(tie.canonicals[0]), []).append(tie)
    return tuple(
        TieGroup(tuple(dict.fromkeys(path for tie in members for path in tie.canonicals)), tuple(members))
        for members in joined.values()
    )
