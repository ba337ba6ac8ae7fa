"""Manifest: the ties of a checkpoint as the checkpoint carries them, and back from JSON."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tiecli.digests import is_digest
from tiecli.errors import ManifestError, TiecliError
from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.manifestnodes import HINT, Node
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform

KEY = "tiecli"
"""The metadata key under which a checkpoint carries its manifest."""

SCHEMA = "tiecli.manifest/1"
LIMIT_BYTES = 100_000_008
"""Nothing that a manifest keeps may unpack to more. Source: safetensors 0.8.0, header limit."""


SlotState = Literal["", "kept", "merged"]


@dataclass(frozen=True, slots=True)
class TieRecord:
    """One tie, with what is needed to prove and to undo it.

    Attributes:
        tie: Which leaf follows from which, and how.
        alias_spec: Shape and dtype of the leaf that is not stored.
        canonical_specs: Shapes and dtypes of the stored leaves, in the tie's order.
        alias_digest: `xxh3_128:` and 32 hex digits, over the values the alias had in C order; or
            `stored_xxh3_128:`, over its stored bytes, where those were proved equal undecoded.
        canonical_digests: The same over each canonical leaf, as stored now.
        exact: Whether alias and transformed canonical were equal bit for bit; False where
            `--keep` gave one side up.
        mode: `omit` where the alias left the checkpoint, `alias` where it is a second name
            of its canonical leaf's stored bytes.
        slot: Of what an optimizer keeps: `kept` where the canonical leaf's state is what it
            was, `merged` where it took up the alias's or was reset. Empty of parameters.
    """

    tie: Tie
    alias_spec: LeafSpec
    canonical_specs: tuple[LeafSpec, ...]
    alias_digest: str
    canonical_digests: tuple[str, ...]
    exact: bool = True
    mode: Literal["omit", "alias"] = "omit"
    slot: SlotState = ""


OriginalPart = Literal["header", "text", "array"]


@dataclass(frozen=True, slots=True)
class Original:
    """What a part of a file was before the first tie, to be put back by the last untie.

    Attributes:
        part: `header` for the length-prefixed header of a safetensors file (the 8 length
            bytes are not kept), `text` for a whole text file, `array` for what an Orbax
            store says of an alias's chunks.
        nbytes: Unpacked size.
        packed: The bytes, zlib-compressed and base85-encoded.
        written: Digest of what was written in its place, for `text`; an edit by somebody
            else since then shows by it.
    """

    part: OriginalPart
    nbytes: int
    packed: str
    written: str = ""

    @classmethod
    def pack(cls, part: OriginalPart, raw: bytes, written: str = "") -> Original:
        """Packs raw bytes."""
        return cls(part, len(raw), base64.b85encode(zlib.compress(raw, 6)).decode("ascii"), written)

    def unpack(self) -> bytes:
        """Gives the raw bytes back.

        Raises:
            ManifestError: They do not unpack to the recorded size.
        """
        try:
            unpacker = zlib.decompressobj()
            raw = unpacker.decompress(base64.b85decode(self.packed), min(self.nbytes, LIMIT_BYTES) + 1)
        except (ValueError, zlib.error) as error:
            raise ManifestError(f"the manifest's copy of an original {self.part} is damaged: {error}", HINT) from error
        if len(raw) != self.nbytes or not unpacker.eof:
            raise ManifestError(
                f"the manifest's copy of an original {self.part} is damaged: "
                f"it does not unpack to {self.nbytes:,} bytes",
                HINT,
            )
        return raw


@dataclass(frozen=True, slots=True)
class Manifest:
    """The ties of one checkpoint and the originals of the files they changed.

    Attributes:
        records: One a tie.
        originals: By file name within the checkpoint; the main file of a single-file
            checkpoint goes by `.`, so that renaming it loses nothing.
    """

    records: tuple[TieRecord, ...]
    originals: Mapping[str, Original] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ties  # noqa: B018  # contradictions are refused here

    @property
    def ties(self) -> TieSet:
        """The ties alone."""
        return TieSet(tuple(record.tie for record in self.records))

    @property
    def by_alias(self) -> Mapping[KeyPath, TieRecord]:
        """The records, found by the leaf that follows."""
        return {record.tie.alias: record for record in self.records}

    def to_json(self) -> str:
        """Writes the manifest as compact JSON."""
        document = {
            "schema": SCHEMA,
            "ties": [_record_to_json(record) for record in self.records],
            "originals": {name: _original_to_json(original) for name, original in self.originals.items()},
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Reads a manifest back.

        Raises:
            ManifestError: It is damaged (names the place), or of a version that this
                tiecli does not know.
        """
        try:
            document = json.loads(text, object_pairs_hook=_refuse_repeats)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"the manifest is not JSON: {error}", HINT) from error
        root = Node(document, "manifest")
        schema = root.text("schema")
        if schema != SCHEMA:
            raise ManifestError(
                f"the manifest is of version `{schema}`, expected `{SCHEMA}`",
                "Install a tiecli that knows this version.",
            )
        try:
            return cls(
                tuple(_record_from_json(node) for node in root.items("ties")),
                {name: _original_from_json(node) for name, node in root.members("originals")},
            )
        except ManifestError:
            raise
        except TiecliError as error:
            raise ManifestError(f"the manifest contradicts itself: {error.message}", HINT) from error


def _refuse_repeats(members: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(members)
    if len(document) < len(members):
        keys = [key for key, _ in members]
        key = next(key for key in document if keys.count(key) > 1)
        raise ManifestError(f"the manifest holds the key `{key:.60}` twice in one object", HINT)
    return document


def _record_to_json(record: TieRecord) -> dict[str, object]:
    return {
        "alias": list(record.tie.alias.keys),
        "canonicals": [list(path.keys) for path in record.tie.canonicals],
        "transform": str(record.tie.transform),
        "alias_spec": _spec_to_json(record.alias_spec),
        "canonical_specs": [_spec_to_json(spec) for spec in record.canonical_specs],
        "alias_digest": record.alias_digest,
        "canonical_digests": list(record.canonical_digests),
        "exact": record.exact,
        **({"mode": record.mode} if record.mode != "omit" else {}),
        **({"slot": record.slot} if record.slot else {}),
    }


def _record_from_json(node: Node) -> TieRecord:
    try:
        transform = Transform.parse(node.text("transform"))
    except ManifestError:
        raise
    except TiecliError as error:
        raise ManifestError(f"{node.place}.transform: {error.message}", *error.hints) from error
    canonicals = tuple(_path_from_json(item) for item in node.items("canonicals"))
    specs = tuple(_spec_from_json(item) for item in node.items("canonical_specs"))
    digests = tuple(_digest(item.value, item.place) for item in node.items("canonical_digests"))
    if not len(canonicals) == len(specs) == len(digests) > 0:
        raise ManifestError(
            f"{node.place}: {len(canonicals)} canonicals, {len(specs)} specs and {len(digests)} digests, "
            "expected as many of each",
            HINT,
        )
    alias_spec = _spec_from_json(node.node("alias_spec"))
    try:
        tie = Tie(_path_from_json(node.node("alias")), canonicals, transform)
        found = transform.spec(specs)
    except TiecliError as error:
        raise ManifestError(f"{node.place}: {error.message}", HINT) from error
    if found != alias_spec:
        raise ManifestError(f"{node.place}: the transform gives {found}, the alias is {alias_spec}", HINT)
    alias_digest = _digest(node.text("alias_digest"), node.place + ".alias_digest")
    return TieRecord(tie, alias_spec, specs, alias_digest, digests, node.flag("exact"), _mode(node), _slot(node))


def _mode(node: Node) -> Literal["omit", "alias"]:
    # Left out where it is `omit`, which is all that safetensors can do.
    return "alias" if _choose(node, "mode", ("omit", "alias")) == "alias" else "omit"


def _slot(node: Node) -> SlotState:
    # Left out of parameters, which most ties are of.
    found = _choose(node, "slot", ("", "kept", "merged"))
    return "kept" if found == "kept" else "merged" if found == "merged" else ""


def _choose(node: Node, name: str, choices: tuple[str, ...]) -> str:
    """Gives a member that is one of a few texts, the first where it is left out."""
    found = node.text(name) if isinstance(node.value, dict) and name in node.value else choices[0]
    if found not in choices:
        named = " or ".join(f"`{choice}`" for choice in choices if choice)
        raise ManifestError(f"{node.place}.{name}: expected {named}, found {found!r:.60}", HINT)
    return found


def _digest(value: object, place: str) -> str:
    text = value if isinstance(value, str) else ""
    if not is_digest(text):
        raise ManifestError(f"{place}: expected `xxh3_128:` and 32 hex digits, found {value!r:.60}", HINT)
    return text


def _path_from_json(node: Node) -> KeyPath:
    keys: list[Key] = []
    for key in node.value if isinstance(node.value, list) else [None]:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise ManifestError(f"{node.place}: expected a list of keys, found {node.value!r:.60}", HINT)
        keys.append(key)
    return KeyPath(tuple(keys))


def _spec_to_json(spec: LeafSpec) -> dict[str, object]:
    return {"dtype": spec.dtype.name, "shape": list(spec.shape)}


def _spec_from_json(node: Node) -> LeafSpec:
    name = node.text("dtype")
    if name not in DTYPES:
        raise ManifestError(f"{node.place}.dtype: unknown dtype `{name}`", HINT)
    lengths = [item.value for item in node.items("shape")]
    shape = tuple(length for length in lengths if type(length) is int and 0 <= length < 1 << 63)
    if len(shape) < len(lengths):
        raise ManifestError(f"{node.place}.shape: expected lengths from 0 to 2⁶³, found {lengths!r:.60}", HINT)
    return LeafSpec(shape, DTYPES[name])


def _original_to_json(original: Original) -> dict[str, object]:
    return {"part": original.part, "nbytes": original.nbytes, "packed": original.packed, "written": original.written}


def _original_from_json(node: Node) -> Original:
    for part in get_args(OriginalPart):
        if part == node.text("part"):
            return Original(part, node.count("nbytes"), node.text("packed"), node.text("written"))
    raise ManifestError(
        f"{node.place}.part: expected `header`, `text` or `array`, found `{node.text('part'):.60}`", HINT
    )
