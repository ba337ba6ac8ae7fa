"""Comparing: whether a leaf is, bit for bit, what a transform makes of others, and how far off it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiecli.boxes import BLOCK_NBYTES, unravel
from tiecli.checkpoints.protocol import RAW, CheckpointReader, Progress, ignore_progress
from tiecli.compare.stored import digest_stored, equal_as_stored
from tiecli.compare.streams import digest_leaf, digest_values
from tiecli.digests import Digest
from tiecli.errors import TransformMismatchError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.transforms import Transform

if TYPE_CHECKING:
    from tiecli.compare.differences import Tally

# Two of them stay in a core's second-level cache; a multiple of 3, so that it holds whole packed elements.
CHUNK_NBYTES = 3 << 17


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an alias and the transformed canonical leaf compare.

    Bits are compared: a NaN equals a NaN of the same payload only, and `-0.0` is not `0.0`.

    Attributes:
        size: Elements of the alias.
        differing: How many differ in their bits. Where `complete` is False, 1.
        first: Index of the first difference, in C order; None when there is none. Where
            `complete` is False, of the first one that was met.
        max_abs: Largest absolute difference; pairs with a NaN or an infinity are left out.
            None where no such pair differs, and for booleans and packed elements.
        max_rel: The same relative to the larger magnitude of the pair, so at most 2.
        max_ulp: The same in units in the last place of the alias's dtype; floats only.
        worst: Index of `max_abs`.
        cosine: Cosine of the angle between the two; None unless asked for.
        complete: Whether all of the leaf was looked at.
        alias_digest: Digest of the alias's values, or of its stored bytes where those alone were
            compared; if asked for.
        canonical_digests: As `digest_leaf` gives it for each canonical leaf.
    """

    size: int
    differing: int
    first: tuple[int, ...] | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    max_ulp: int | None = None
    worst: tuple[int, ...] | None = None
    cosine: float | None = None
    complete: bool = True
    alias_digest: str | None = None
    canonical_digests: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every bit is the same."""
        return self.differing == 0


def compare_leaf(
    reader: CheckpointReader,
    alias: KeyPath,
    other_reader: CheckpointReader,
    canonicals: tuple[KeyPath, ...],
    transform: Transform,
    *,
    measure: bool,
    digests: bool = False,
    cosine: bool = False,
    block_nbytes: int = BLOCK_NBYTES,
    progress: Progress = ignore_progress,
) -> Comparison:
    """Compares a leaf with what a transform makes of other leaves, a few MiB at a time.

    Args:
        reader: The checkpoint that holds the alias.
        alias: The leaf to compare.
        other_reader: The checkpoint that holds the canonical leaves; may be the same.
        canonicals: The leaves that the transform takes.
        transform: What makes the alias of them.
        measure: Go through the whole leaf and measure; otherwise stop at the first difference.
        digests: Digest the alias and each canonical leaf as well.
        cosine: Find the angle between the two as well; implies a look at every element.
        block_nbytes: How much of each side to hold at a time, where a transform is more than `same`.
        progress: Told the bytes of the alias that have been compared.

    Raises:
        TransformMismatchError: The transform does not give the alias's shape and dtype.
        SourceChangedError: A file is shorter than it was when opened.
        UnreadableFileError: The system refused a read.
    """
    spec = reader.specs()[alias]
    sources = tuple(other_reader.specs()[path] for path in canonicals)
    made = transform.spec(sources)
    if made != spec:
        raise TransformMismatchError(
            f"`{alias.spelling}` is {spec}, but the transform `{transform}` gives {made}",
            "`tiecli find` looks for a transform that fits.",
        )
    if transform.is_same:
        # Where the stored bytes are what a digest is of, they are read once for both.
        passing = Digest(stored=True) if digests and reader.stored_form(alias).encoding != RAW else None
        if not cosine and equal_as_stored(reader, alias, other_reader, canonicals[0], progress, passing):
            if not digests:
                return Comparison(spec.size, 0)
            digest = digest_leaf(reader, alias) if passing is None else str(passing)
            return Comparison(spec.size, 0, alias_digest=digest, canonical_digests=(digest,))
        run = _PlainRun(reader, alias, other_reader, canonicals[0], spec, measure, digests, cosine)
        return run.compare(progress)
    comparison = _compare_blocks(
        reader, alias, other_reader, canonicals, transform, measure or cosine, cosine, block_nbytes, progress
    )
    if not digests:
        return comparison
    alias_digest = digest_values(reader, alias)
    canonical_digests = tuple(digest_leaf(other_reader, path) for path in canonicals)
    return _with_digests(comparison, alias_digest, canonical_digests)


def _compare_blocks(
    reader: CheckpointReader,
    alias: KeyPath,
    other_reader: CheckpointReader,
    canonicals: tuple[KeyPath, ...],
    transform: Transform,
    measure: bool,
    cosine: bool,
    block_nbytes: int,
    progress: Progress,
) -> Comparison:
    """Compares a leaf with a transformed one."""
    from tiecli.compare.blockwise import LeafSource, compare_blocks
    from tiecli.compare.differences import Tally

    spec = reader.specs()[alias]
    tally = Tally(spec.dtype, cosine=cosine)
    leaves = tuple(LeafSource(other_reader, path) for path in canonicals)
    complete = compare_blocks(
        reader, alias, leaves, transform, tally, measure=measure, block_nbytes=block_nbytes, progress=progress
    )
    return _conclude(spec, tally, complete)


@dataclass(frozen=True, slots=True)
class _PlainRun:
    """Compares the bytes of two leaves of one spec; needs numpy only where they differ."""

    reader: CheckpointReader
    alias: KeyPath
    other_reader: CheckpointReader
    canonical: KeyPath
    spec: LeafSpec
    measure: bool
    digests: bool
    cosine: bool

    def compare(self, progress: Progress) -> Comparison:
        """Goes through both leaves side by side."""
        tally: Tally | None = self._start_tally() if self.cosine else None
        digests = _DigestPair() if self.digests else None
        differing, complete = False, True
        for offset, left, right in self._chunks():
            equal = left == right
            differing = differing or not equal
            if digests:
                digests.update(left, right, equal=equal)
            if differing and not (self.measure or self.cosine):
                complete = False
                if digests is None:
                    return self._conclude(self._tally_chunk(None, offset, left, right), None, complete)
                # The digests are of whole leaves, so the rest is read for them alone.
                tally = tally or self._tally_chunk(None, offset, left, right)
            elif self.cosine or not equal:
                tally = self._tally_chunk(tally, offset, left, right)
            progress(len(left))
        return self._conclude(tally, digests, complete)

    def _chunks(self) -> Iterator[tuple[int, bytearray, bytearray]]:
        nbytes = self.spec.nbytes
        left, right = bytearray(min(nbytes, CHUNK_NBYTES)), bytearray(min(nbytes, CHUNK_NBYTES))
        for offset in range(0, nbytes, CHUNK_NBYTES):
            if nbytes - offset < len(left):
                left, right = bytearray(nbytes - offset), bytearray(nbytes - offset)
            self.reader.read_into(self.alias, offset, memoryview(left))
            self.other_reader.read_into(self.canonical, offset, memoryview(right))
            yield offset, left, right

    def _start_tally(self) -> Tally:
        from tiecli.compare.differences import Tally

        return Tally(self.spec.dtype, cosine=self.cosine)

    def _tally_chunk(self, tally: Tally | None, offset: int, left: bytearray, right: bytearray) -> Tally:
        from tiecli.compare.differences import bits_of

        tally = tally or self._start_tally()
        start = offset * 8 // self.spec.dtype.bits
        tally.add(
            bits_of(left, self.spec.dtype),
            bits_of(right, self.spec.dtype),
            lambda position: unravel(start + position, self.spec.shape),
        )
        return tally

    def _conclude(self, tally: Tally | None, digests: _DigestPair | None, complete: bool) -> Comparison:
        comparison = _conclude(self.spec, tally, complete)
        if digests is None:
            return comparison
        left, right = digests.texts()
        if self.other_reader.stored_form(self.canonical).encoding != RAW:
            right = digest_stored(self.other_reader, self.canonical)
        return _with_digests(comparison, left, (right,))


class _DigestPair:
    """Digests two streams, once for as long as they are equal."""

    def __init__(self) -> None:
        self._left = Digest()
        self._right = self._left

    def update(self, left: bytearray, right: bytearray, *, equal: bool) -> None:
        """Takes in a piece of each."""
        if not equal and self._right is self._left:
            self._right = self._left.copy()
        self._left.update(left)
        if self._right is not self._left:
            self._right.update(right)

    def texts(self) -> tuple[str, str]:
        """Gives the digests as a manifest writes them."""
        return str(self._left), str(self._right)


def _conclude(spec: LeafSpec, tally: Tally | None, complete: bool) -> Comparison:
    if tally is None:
        return Comparison(spec.size, 0)
    if not complete:
        return Comparison(spec.size, 1, tally.first, complete=False)
    return Comparison(
        spec.size,
        tally.differing,
        tally.first,
        tally.max_abs,
        tally.max_rel,
        tally.max_ulp,
        tally.worst,
        tally.cosine,
    )


def _with_digests(comparison: Comparison, alias: str, canonicals: tuple[str, ...]) -> Comparison:
    from dataclasses import replace

    return replace(comparison, alias_digest=alias, canonical_digests=canonicals)


def describe_drift(comparison: Comparison) -> str:
    """Words how far two leaves lie apart.

    Example:
        >>> describe_drift(Comparison(100, 3, (12, 5), 1.2e-07, 1e-6, 1))
        '3 of 100 elements differ, max abs 1.2e-07 (1 ulp), first at [12, 5]'
    """
    parts = [f"{comparison.differing:,} of {comparison.size:,} elements differ"]
    if comparison.max_abs is not None:
        ulp = "" if comparison.max_ulp is None else f" ({comparison.max_ulp:,} ulp)"
        parts.append(f"max abs {comparison.max_abs:.3g}{ulp}")
    if comparison.first is not None:
        parts.append(f"first at {list(comparison.first)}")
    return ", ".join(parts)
