"""Errors: every way tiecli can refuse, one class each, with the next step as a hint.

```
TiecliError
├── UsageError                    the request itself cannot be met
│   ├── KeyPathSyntaxError        a key path or pattern that does not parse
│   ├── LeafNotFoundError         a name that no leaf carries
│   ├── PairingError              patterns that do not pair up
│   ├── TransformSyntaxError      a transform that does not parse
│   ├── TransformMismatchError    a transform that does not fit its leaves
│   ├── TieConflictError          ties that contradict each other
│   ├── NothingToTieError         no state that belongs to a tie
│   ├── NothingToUntieError       no such tie in the checkpoint
│   ├── NothingToVerifyError      no tie that could be put to the test
│   ├── PlanFileError             a plan file that cannot be used
│   ├── SettingsError             settings or a baseline of the linter that cannot be used
│   ├── ConversionError           something that the other format cannot hold
│   ├── CopyError                 nothing to copy, or leaves left over where none may be
│   ├── StateConflictError        optimizer state that has no valid rule
│   ├── TreeError                 leaves that no one tree of mappings and sequences can hold
│   ├── LossError                 a loss that cannot be imported, called or differentiated
│   └── PartNotFoundError         no such step or item in an Orbax checkpoint
├── ProofError                    the bytes are not what the tie says
│   ├── DriftedPairError          alias and T(canonical) differ
│   └── AmbiguousTieError         more than one transform fits, none was named
├── CheckpointError               a source that cannot be trusted or read
│   ├── CheckpointNotFoundError   nothing there, or nothing that is a checkpoint
│   ├── UnreadableFileError       the system refuses to read it
│   ├── HeaderError               a safetensors header that is damaged
│   ├── TruncatedFileError        fewer bytes than the header promises
│   ├── UncoveredBytesError       bytes that belong to no leaf
│   ├── LfsPointerError           a Git LFS pointer in place of the file
│   ├── IndexFileError            an index that is damaged or unsafe
│   ├── ShardMismatchError        index and shards disagree
│   ├── ManifestError             a manifest that is damaged or too new
│   ├── ConfigFileError           a config.json that is damaged
│   ├── OrbaxMetadataError        a JSON file of an Orbax checkpoint that is damaged
│   ├── DatabaseError             an OCDBT manifest or node that is damaged
│   ├── MissingChunkError         stored bytes of a leaf that are not there
│   ├── ChunkError                stored bytes that do not decode
│   ├── NameCollisionError        two leaves that share one name in the store
│   ├── UnfinishedCheckpointError a save that never ended
│   ├── UnsupportedCheckpointError a layout, codec or dtype that tiecli does not know
│   └── SourceChangedError        the source changed while it was read
├── FixError                      a fix of the linter that cannot be carried out as it stands
├── ProcessError                  processes that verify together and lose one of them
└── TargetError                   a target that cannot be written
    ├── TargetExistsError         something is there already
    ├── TargetIsSourceError       the target is the source
    ├── InPlaceError              `--in-place` where that is unsafe
    ├── TargetLockedError         another tiecli writes here
    └── WriteFailedError          the system refuses the bytes
```
"""

from __future__ import annotations


class TiecliError(Exception):
    """Says what tiecli refuses, why, and what to do next.

    Attributes:
        message: One line, lower-case, leaf and file names in backticks, no trailing period.
        hints: Full sentences; each gives the next thing to type.
    """

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints

    @property
    def code(self) -> str:
        """The stable name of this kind of error, as JSON output carries it."""
        return type(self).__name__.removesuffix("Error")


class UsageError(TiecliError):
    """The request itself cannot be met."""


class KeyPathSyntaxError(UsageError):
    """A key path or pattern does not parse."""


class LeafNotFoundError(UsageError):
    """A name or pattern matches no leaf."""


class PairingError(UsageError):
    """Source and destination patterns do not pair up one to one."""


class TransformSyntaxError(UsageError):
    """A transform does not parse."""


class TransformMismatchError(UsageError):
    """A transform does not fit the shape or dtype of its leaves."""


class TieConflictError(UsageError):
    """Ties contradict each other: alias twice, self-tie, cycle."""


class NothingToTieError(UsageError):
    """There is no tie to carry state for, or no state."""


class NothingToUntieError(UsageError):
    """The checkpoint has no such tie."""


class NothingToVerifyError(UsageError):
    """The checkpoint states no tie."""


class PlanFileError(UsageError):
    """A plan file is missing, damaged, or of another version."""


class SettingsError(UsageError):
    """Settings or a baseline of the linter name something unknown, or cannot be read."""


class ConversionError(UsageError):
    """The other format cannot hold something, or not so that it can be told afterwards what it was."""


class CopyError(UsageError):
    """Nothing is to be copied, or leaves are left over where none may be."""


class StateConflictError(UsageError):
    """The optimizer's state of two leaves cannot become that of one."""


class TreeError(UsageError):
    """Leaves stand where no one tree of mappings and sequences can hold them all."""


class LossError(UsageError):
    """A loss of the user's own cannot be imported, called or differentiated."""


class PartNotFoundError(UsageError):
    """An Orbax checkpoint has no such step or item."""


class ProofError(TiecliError):
    """The bytes are not what the tie says."""


class DriftedPairError(ProofError):
    """Alias and transformed canonical leaf differ."""


class AmbiguousTieError(ProofError):
    """The bytes fit more than one transform, and none was named."""


class CheckpointError(TiecliError):
    """A source cannot be trusted or read."""


class CheckpointNotFoundError(CheckpointError):
    """Nothing is there, or nothing that is a checkpoint."""


class UnreadableFileError(CheckpointError):
    """The system refuses to open or read a file."""


class HeaderError(CheckpointError):
    """A safetensors header is damaged."""


class TruncatedFileError(CheckpointError):
    """A file has fewer bytes than its header promises."""


class UncoveredBytesError(CheckpointError):
    """A file has bytes that belong to no leaf."""


class LfsPointerError(CheckpointError):
    """A Git LFS pointer stands in place of the file."""


class IndexFileError(CheckpointError):
    """An index file is damaged, or names a shard outside its directory."""


class ShardMismatchError(CheckpointError):
    """The index and the shards disagree."""


class ManifestError(CheckpointError):
    """A manifest is damaged, or written by a newer tiecli."""


class ConfigFileError(CheckpointError):
    """The `config.json` of a checkpoint is damaged."""


class OrbaxMetadataError(CheckpointError):
    """A JSON file of an Orbax checkpoint is damaged, or contradicts another."""


class DatabaseError(CheckpointError):
    """The manifest or a node of an OCDBT database is damaged."""


class MissingChunkError(CheckpointError):
    """Stored bytes of a leaf are not there, or are cut short."""


class ChunkError(CheckpointError):
    """Stored bytes of a leaf do not decode."""


class NameCollisionError(CheckpointError):
    """Two leaves share one name in the store, so that one was lost when it was saved."""


class UnfinishedCheckpointError(CheckpointError):
    """A save never ended: a temporary directory, or a step without its commit."""


class UnsupportedCheckpointError(CheckpointError):
    """A layout, codec or dtype that tiecli does not know."""


class SourceChangedError(CheckpointError):
    """The source changed while it was being read."""


class FixError(TiecliError):
    """A fix of the linter cannot be carried out as it stands."""


class ProcessError(TiecliError):
    """Of several processes that verify together, one failed, or they do not find each other."""


class TargetError(TiecliError):
    """A target cannot be written."""


class TargetExistsError(TargetError):
    """Something stands at the target already."""


class TargetIsSourceError(TargetError):
    """The target is the source."""


class InPlaceError(TargetError):
    """Rewriting in place is unsafe here."""


class TargetLockedError(TargetError):
    """Another run writes to this place."""


class WriteFailedError(TargetError):
    """The system refused the bytes: disk full, quota, permission."""
