"""Ties: the manifest of a checkpoint, in the names and digests of the other format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.compare import digest_blocks, has_digest, transformed_blocks
from tiecli.compare.streams import digest_values
from tiecli.conversion.report import ConvertedTie
from tiecli.declared import list_shared
from tiecli.digests import is_of_stored
from tiecli.errors import ManifestError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec
from tiecli.manifest import Manifest, TieRecord
from tiecli.plan import Mode
from tiecli.ties import Tie

Rename = Callable[[KeyPath], KeyPath]
Share = Callable[[Tie, LeafSpec], bool]


@dataclass(frozen=True, slots=True)
class CarriedTies:
    """The ties on their way, in new names unless said otherwise.

    Attributes:
        records: What the new manifest says.
        dropped: Leaves of the source, in its names, that are second names and are not stored again.
        shared: Aliases that are second names in the new checkpoint.
        omitted: Aliases that it does not store.
        reported: The same for people.
        notices: What a person must know.
    """

    records: tuple[TieRecord, ...]
    dropped: frozenset[KeyPath]
    shared: Mapping[KeyPath, Tie]
    omitted: frozenset[KeyPath]
    reported: tuple[ConvertedTie, ...]
    notices: tuple[str, ...]

    @property
    def manifest(self) -> Manifest | None:
        """The new manifest: nothing of the old format's files is an original of the new one's."""
        return Manifest(self.records) if self.records else None

    @property
    def conventional(self) -> Mapping[str, str]:
        """The plain ties as `safetensors.torch.save_model` writes them."""
        ties = (record.tie for record in self.records)
        return {tie.alias.spelling: tie.canonical for tie in ties if tie.transform.is_same}


def carry_ties(reader: CheckpointReader, rename: Rename, share: Share) -> CarriedTies:
    """Carries the ties of a manifest over; reads each canonical leaf once, for its digest.

    Args:
        reader: The source.
        rename: Gives a leaf its name in the other format.
        share: Whether an alias, in its new name, becomes a second name of a leaf's bytes.

    Raises:
        ManifestError: The manifest is damaged, or ties to a leaf that is not stored.
        ConversionError: A name has no counterpart.
        CheckpointError: A leaf cannot be read.
    """
    manifest = reader.manifest()
    second = list_shared(reader)
    records: list[TieRecord] = []
    reported: list[ConvertedTie] = []
    notices: list[str] = []
    shared: dict[KeyPath, Tie] = {}
    for old in manifest.records if manifest else ():
        alias = old.tie.alias
        if alias in reader.specs() and alias not in second:
            notices.append(f"`{alias.spelling}` is stored with bytes of its own, so its tie ends here")
            continue
        _check_stored(reader, old)
        renewed, notice = _renew(reader, old)
        notices += notice
        tie = Tie(rename(alias), tuple(map(rename, old.tie.canonicals)), old.tie.transform)
        record = replace(renewed, tie=tie, mode="alias" if share(tie, old.canonical_specs[0]) else "omit")
        if record.mode == "alias":
            shared[tie.alias] = tie
        records.append(record)
        before: Mode = "alias" if alias in second else "omit"
        reported.append(
            ConvertedTie(tie.alias.spelling, tie.canonical, tie.transform, old.alias_spec, before, record.mode)
        )
    omitted = frozenset(record.tie.alias for record in records if record.mode == "omit")
    return CarriedTies(tuple(records), second, shared, omitted, tuple(reported), tuple(notices))


def _check_stored(reader: CheckpointReader, record: TieRecord) -> None:
    specs = reader.specs()
    for path, spec in zip(record.tie.canonicals, record.canonical_specs, strict=True):
        if specs.get(path) != spec:
            found = specs.get(path, "not stored")
            raise ManifestError(
                f"`{record.tie.alias.spelling}` follows from `{path.spelling}`, which is {found}, expected {spec}",
                "The manifest is of another checkpoint; see docs/manifest.md.",
            )


def _renew(reader: CheckpointReader, record: TieRecord) -> tuple[TieRecord, list[str]]:
    """Has digests tell values, which both formats have, rather than stored bytes.

    What a canonical leaf was when it was tied can be told anew only if it still is that;
    otherwise the tie is recorded as it holds now.
    """
    digests = {path: digest_values(reader, path) for path in record.tie.canonicals}
    recorded = dict(zip(record.tie.canonicals, record.canonical_digests, strict=True))
    if not any(map(is_of_stored, (record.alias_digest, *recorded.values()))):
        return record, []
    unchanged = all(_is_unchanged(reader, path, recorded[path], digests[path]) for path in recorded)
    notices = []
    alias_digest = record.alias_digest
    if not unchanged and record.exact:
        notices.append(
            f"`{record.tie.canonical}` changed since `{record.tie.alias.spelling}` was tied to it; "
            "the tie is recorded as it holds now"
        )
    if is_of_stored(alias_digest) or not unchanged:
        alias_digest = digest_blocks(
            transformed_blocks(reader, record.tie.canonicals, record.tie.transform, record.alias_spec)
        )
    return replace(record, alias_digest=alias_digest, canonical_digests=tuple(digests.values())), notices


def _is_unchanged(reader: CheckpointReader, path: KeyPath, recorded: str, now: str) -> bool:
    return has_digest(reader, path, recorded) if is_of_stored(recorded) else recorded == now
