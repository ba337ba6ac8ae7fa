"""Ties: which leaf is an alias of which, without contradiction."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from tiecli.errors import ManifestError, TieConflictError
from tiecli.keypaths import KeyPath, spell_leaves
from tiecli.transforms import Transform, compose


@dataclass(frozen=True, slots=True)
class Tie:
    """One leaf that follows from others: `alias = transform(*canonicals)`.

    Attributes:
        alias: The leaf that is not stored.
        canonicals: The stored leaves it follows from; one, but for `concat` and `stack`.
        transform: How it follows.
    """

    alias: KeyPath
    canonicals: tuple[KeyPath, ...]
    transform: Transform

    def __post_init__(self) -> None:
        if self.alias in self.canonicals:
            raise TieConflictError(
                f"`{self.alias.spelling}` cannot be tied to itself",
                "A leaf equal to its own transpose is a constraint, not a duplicate; leave it as it is.",
            )

    @property
    def canonical(self) -> str:
        """The canonical leaf as people see it; several are written `(a, b, c)`."""
        return spell_leaves(self.canonicals)

    def __str__(self) -> str:
        right = self.canonical if self.transform.is_same else f"{self.canonical} | {self.transform}"
        return f"{self.alias.spelling} = {right}"


@dataclass(frozen=True, slots=True)
class TieSet:
    """Ties that hold together: no alias twice, no cycle, every canonical leaf stored.

    A chain (`c` from `b`, `b` from `a`) is accepted and composed to its root, so that
    every canonical leaf of the set is stored.
    """

    ties: tuple[Tie, ...]

    def __post_init__(self) -> None:
        by_alias: dict[KeyPath, Tie] = {}
        for tie in self.ties:
            if tie.alias in by_alias:
                raise TieConflictError(
                    f"`{tie.alias.spelling}` is tied twice: to {by_alias[tie.alias].canonical} and to {tie.canonical}",
                    "A leaf can follow from one source only; name it once.",
                )
            by_alias[tie.alias] = tie
        rooted = tuple(_compose_to_root(tie, by_alias) for tie in self.ties)
        object.__setattr__(self, "ties", rooted)

    def __iter__(self) -> Iterator[Tie]:
        return iter(self.ties)

    def __len__(self) -> int:
        return len(self.ties)

    @property
    def by_alias(self) -> Mapping[KeyPath, Tie]:
        """The ties, found by the leaf that follows."""
        return {tie.alias: tie for tie in self.ties}

    def check_roots(self, stored: Container[KeyPath]) -> None:
        """Checks that every canonical leaf is there; one that is not was lost after its alias was.

        Raises:
            ManifestError: One is not.
        """
        for tie in self.ties:
            for path in tie.canonicals:
                if path not in stored:
                    raise ManifestError(
                        f"the checkpoint says that `{tie.alias.spelling}` follows from `{path.spelling}`, "
                        "but stores no such leaf",
                        "Somebody dropped or renamed it since; an untied copy of the checkpoint is the way back.",
                    )


def _compose_to_root(tie: Tie, by_alias: Mapping[KeyPath, Tie]) -> Tie:
    chain = [tie.alias]
    while len(tie.canonicals) == 1 and (inner := by_alias.get(tie.canonicals[0])) is not None:
        chain.append(inner.alias)
        for path in inner.canonicals:
            if path in chain:
                names = " → ".join(link.spelling for link in [*chain, path])
                raise TieConflictError(f"ties form a cycle: {names}", "Decide which of these leaves is stored.")
        tie = Tie(tie.alias, inner.canonicals, compose(inner.transform, tie.transform))
    for path in tie.canonicals:
        if path in by_alias:
            raise TieConflictError(
                f"`{tie.alias.spelling}` is made of several leaves, "
                f"and one of them, `{path.spelling}`, is an alias itself",
                f"Name `{by_alias[path].canonical}` in its place.",
            )
    return tie
