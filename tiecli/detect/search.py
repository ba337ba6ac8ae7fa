"""Searching: samples first, whole leaves only to prove what the samples suggest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tiecli.checkpoints.protocol import CheckpointReader, Progress, ignore_progress
from tiecli.detect.candidates import (
    suggest_casts,
    suggest_equal,
    suggest_prefixes,
    suggest_slices,
    suggest_turns,
)
from tiecli.detect.classes import Classes, form_classes
from tiecli.detect.dead import find_dead
from tiecli.detect.hits import FindReport, Hit, HitKind
from tiecli.detect.near import NearPair, find_near
from tiecli.detect.preferences import Pair, Preferences
from tiecli.detect.proofs import Candidate, Outcome, prove
from tiecli.detect.settling import settle_near
from tiecli.detect.spanning import span_near
from tiecli.detect.stated import prove_stated
from tiecli.detect.subjects import Subject
from tiecli.detect.survey import Survey, take_survey
from tiecli.detect.threads import run_in_pairs
from tiecli.keypaths import KeyPath

_KINDS: tuple[HitKind, ...] = (
    "identical",
    "transposed",
    "slice",
    "cast",
    "prefix",
    "scaled",
    "ambiguous",
    "drifted",
    "dead",
)

# Leaves that are decoded out of order are put aside on the disk: not four at once that are larger than this.
_ALONE_NBYTES = 1 << 30


def find_ties(
    reader: CheckpointReader,
    declared: Sequence[Pair] = (),
    named: Sequence[Pair] = (),
    progress: Progress = ignore_progress,
) -> FindReport:
    """Finds leaves that follow from others, and pairs that once did.

    Leaves are sampled in a few places that depend on their shape alone, so that equal leaves
    have equal samples however they are turned. Whatever the samples suggest is proved on the
    whole leaves, bit for bit.

    Args:
        reader: The checkpoint.
        declared: Pairs `(canonical, alias)` that the checkpoint says are tied.
        named: Pairs that are named like ties.
        progress: Told the bytes read.

    Raises:
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    preferences = Preferences(declared, named)
    survey = take_survey(reader, preferences, progress)
    classes = form_classes(survey, preferences)
    forest = _Forest()
    candidates = list(_suggest(survey, classes, preferences))
    near = find_near(survey, (leaf for leaf in classes.canonicals.values() if leaf.spec.dtype.kind == "float"))
    # What is suspected of something better is left for a later round, if nothing comes of it.
    busy = {candidate.alias.path for candidate in candidates}
    while candidates or near:
        pairs = span_near(survey, preferences, [pair for pair in near if not busy & pair.paths])
        forest.grow(_prove(survey, preferences, candidates, pairs))
        if not pairs and not candidates:
            break
        tried = {pair.paths for pair in pairs}
        near = [pair for pair in near if pair.paths not in tried and not forest.connects(*pair.paths)]
        candidates, busy = [], forest.aliases
    forest.grow(prove_stated(survey, preferences, set(declared), forest.connects))
    samples = survey.samples
    return FindReport(
        (*forest.hits(), *find_dead(survey, forest.connects)),
        len(reader.specs()),
        len(samples.read_whole),
        samples.bytes_read,
        len(samples.constant),
        len(survey.shared),
        survey.skipped,
    )


def _suggest(survey: Survey, classes: Classes, preferences: Preferences) -> Iterator[Candidate]:
    yield from suggest_equal(survey, classes)
    yield from suggest_slices(survey, classes)
    yield from suggest_casts(survey, classes)
    yield from suggest_prefixes(survey, classes, preferences)


def _prove(
    survey: Survey, preferences: Preferences, candidates: Sequence[Candidate], pairs: Sequence[NearPair]
) -> list[Outcome]:
    """Proves candidates and settles near pairs, together, since the largest take longest."""
    tasks: list[Candidate | NearPair] = [*candidates, *pairs]
    tasks.sort(key=lambda task: -task.nbytes)

    def settle(task: Candidate | NearPair) -> Outcome | None:
        """Compares what is to be compared."""
        if isinstance(task, Candidate):
            return prove(survey.samples, task)
        return settle_near(survey, task)

    alone = [task for task in tasks if survey.samples.compressed and task.nbytes > _ALONE_NBYTES]
    settled = [*map(settle, alone), *run_in_pairs(settle, tasks[len(alone) :])]
    outcomes = [outcome for outcome in settled if outcome is not None]
    # Those that are not what they seemed may still be equal to each other.
    failed: dict[Subject, list[Candidate]] = {}
    for outcome in outcomes:
        if not outcome.fits and outcome.candidate.kind in ("identical", "transposed"):
            failed.setdefault(outcome.candidate.canonical, []).append(outcome.candidate)
    again = [candidate for group in failed.values() for candidate in _among(survey, preferences, group)]
    return outcomes + (_prove(survey, preferences, again, ()) if again else [])


def _among(survey: Survey, preferences: Preferences, group: Sequence[Candidate]) -> Iterator[Candidate]:
    canonical = preferences.choose_among([failed.alias for failed in group])
    for failed in group:
        if failed.alias is not canonical:
            yield from suggest_turns(survey, canonical, failed.alias)


class _Forest:
    """The hits so far: each leaf follows from one other at most, and never from itself.

    Attributes:
        aliases: Leaves that follow from another bit for bit or nearly.
    """

    def __init__(self) -> None:
        self.aliases: set[KeyPath] = set()
        self._found: list[tuple[int, Hit]] = []
        self._roots: dict[KeyPath, KeyPath] = {}

    def grow(self, outcomes: Iterable[Outcome]) -> None:
        """Takes in what was proved, the best kind first."""
        ranked = sorted(outcomes, key=lambda outcome: (not outcome.fits, _KINDS.index(outcome.candidate.kind)))
        for outcome in ranked:
            canonical, alias = outcome.candidate.canonical, outcome.candidate.alias
            if alias.path in self.aliases or self.connects(canonical.path, alias.path):
                continue
            hit = _to_hit(outcome)
            if hit is not None:
                self.aliases.add(alias.path)
                self._roots[self._root(alias.path)] = self._root(canonical.path)
                self._found.append((alias.place, hit))

    def connects(self, first: KeyPath, second: KeyPath) -> bool:
        """Whether two leaves hang together already."""
        return self._root(first) == self._root(second)

    def hits(self) -> Iterator[Hit]:
        """Gives the hits by kind, then in stored order of the aliases."""
        for _, hit in sorted(self._found, key=lambda found: (_KINDS.index(found[1].kind), found[0])):
            yield hit

    def _root(self, path: KeyPath) -> KeyPath:
        while path in self._roots:
            path = self._roots[path]
        return path


def _to_hit(outcome: Outcome) -> Hit | None:
    candidate = outcome.candidate
    canonical, alias = candidate.canonical, candidate.alias
    if outcome.fits:
        kind: HitKind = "ambiguous" if len(outcome.fits) > 1 else candidate.kind
        if kind in ("identical", "transposed"):
            kind = "identical" if outcome.fits[0].is_same else "transposed"
        return Hit(kind, canonical.path, alias.path, outcome.fits[0], outcome.fits, alias.spec)
    if outcome.is_near or candidate.kind == "drifted":
        return Hit("drifted", canonical.path, alias.path, candidate.transforms[0], (), alias.spec, outcome.drift)
    return None
