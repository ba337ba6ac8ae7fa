"""Proofs: comparing the whole leaves of what the samples suggest, two pairs at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TypeVar

from tiecli.compare import Comparison, compare_leaf
from tiecli.detect.hits import HitKind
from tiecli.detect.probes import Samples
from tiecli.detect.subjects import Subject
from tiecli.transforms import Transform

_BLOCK_NBYTES = 16 << 20

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tie that the samples suggest.

    Attributes:
        kind: What it would be, if it fits one transform only.
        canonical: The leaf to keep, or the layer of it.
        alias: The leaf that would follow.
        transforms: Those that fit the samples, the plainest first.
    """

    kind: HitKind
    canonical: Subject
    alias: Subject
    transforms: tuple[Transform, ...]

    @property
    def nbytes(self) -> int:
        """How much there is to compare."""
        return self.alias.spec.nbytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the whole leaves said.

    Attributes:
        candidate: What was suggested.
        fits: The transforms that fit bit for bit.
        drift: How far apart the two are under the first transform, if none fits.
    """

    candidate: Candidate
    fits: tuple[Transform, ...]
    drift: Comparison | None = None

    @property
    def is_near(self) -> bool:
        """Whether most elements are the same, though not all."""
        return self.drift is not None and self.drift.differing * 2 < self.drift.size


def prove(samples: Samples, candidate: Candidate) -> Outcome:
    """Finds out which of the suggested transforms fit, or how far off the first one is."""
    first, *others = candidate.transforms
    comparison = compare_pair(samples, candidate, first, measure=True)
    fits = [first] if comparison.equal else []
    fits += [other for other in others if compare_pair(samples, candidate, other, measure=False).equal]
    return Outcome(candidate, tuple(fits), None if fits else comparison)


def compare_pair(samples: Samples, candidate: Candidate, transform: Transform, *, measure: bool) -> Comparison:
    """Compares two whole leaves, and counts what that reads."""
    canonical, alias = candidate.canonical, candidate.alias
    comparison = compare_leaf(
        samples.reader,
        alias.path,
        samples.reader,
        (canonical.path,),
        transform,
        measure=measure,
        block_nbytes=_BLOCK_NBYTES,
    )
    if comparison.complete:
        is_whole = canonical.layer is None and canonical.spec.size <= alias.spec.size
        read = min(canonical.spec.size, alias.spec.size) * canonical.spec.dtype.bits // 8
        samples.count(alias.spec.nbytes + read, alias.path, *([canonical.path] if is_whole else []))
    return comparison


def run_in_pairs(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Calls a function on every item, two at a time; results keep the order of the items.

    Most of the time goes by in reads and array arithmetic, during which Python lets other
    threads run. Raises what the first failing call raised.
    """
    results: dict[int, Result] = {}
    failures: list[BaseException] = []
    waiting = iter(enumerate(items))
    turn = Lock()

    def work() -> None:
        """Takes items until none are left or one has failed."""
        while not failures:
            with turn:
                number, item = next(waiting, (None, None))
            if number is None or item is None:
                return
            try:
                results[number] = act(item)
            except BaseException as failure:  # noqa: BLE001  # raised again where the caller waits
                failures.append(failure)

    helper = Thread(target=work, daemon=True)
    if len(items) > 1:
        helper.start()
    work()
    if len(items) > 1:
        helper.join()
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(items))]
