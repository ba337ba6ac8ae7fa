"""The manifest: what is written is read back, and each way to damage it is named with its place."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tiecli.errors import ManifestError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.manifest import LIMIT_BYTES, Manifest, Original, TieRecord
from tiecli.ties import Tie
from tiecli.transforms import Transform

DIGEST = "xxh3_128:" + "0123456789abcdef" * 2
Document = dict[str, Any]


def spec(*shape: int, dtype: str = "F32") -> LeafSpec:
    return LeafSpec(shape, DTYPES[dtype])


def record(alias: str = "head", canonical: str = "wte", transform: str = "transpose") -> TieRecord:
    tie = Tie(KeyPath.from_name(alias), (KeyPath.from_name(canonical),), Transform.parse(transform))
    return TieRecord(tie, tie.transform.spec((spec(3, 4),)), (spec(3, 4),), DIGEST, (DIGEST,))


MANIFEST = Manifest(
    (record(),), {".": Original.pack("header", b'{"a": 1}   '), "x.json": Original.pack("text", b"{}", DIGEST)}
)


def damaged(damage: Callable[[Document], object]) -> str:
    document = json.loads(MANIFEST.to_json())
    damage(document)
    return json.dumps(document)


class TestRoundTrip:
    def test_a_manifest_reads_back(self) -> None:
        """What is written is read back equal, originals included."""
        assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST

    def test_what_it_looks_like(self) -> None:
        """The document has the members that the specification names, and no others."""
        document = json.loads(MANIFEST.to_json())

        assert document["schema"] == "tiecli.manifest/1"
        assert document["ties"] == [
            {
                "alias": ["head"],
                "canonicals": [["wte"]],
                "transform": "transpose",
                "alias_spec": {"dtype": "F32", "shape": [4, 3]},
                "canonical_specs": [{"dtype": "F32", "shape": [3, 4]}],
                "alias_digest": DIGEST,
                "canonical_digests": [DIGEST],
                "exact": True,
            }
        ]
        assert list(document) == ["schema", "ties", "originals"]
        assert list(document["originals"]["."]) == ["part", "nbytes", "packed", "written"]

    def test_typed_keys_stay_typed(self) -> None:
        """An index stays an index, a numeral a numeral, a dot within a key stays within it."""
        tie = Tie(KeyPath(("a.b", 0, "0")), (KeyPath(("x",)),), Transform.parse("same"))
        manifest = Manifest((TieRecord(tie, spec(2), (spec(2),), DIGEST, (DIGEST,), exact=False),))

        assert Manifest.from_json(manifest.to_json()) == manifest

    def test_several_sources(self) -> None:
        """A tie on several leaves keeps their order, and a digest for each."""
        tie = Tie(KeyPath(("qk",)), (KeyPath(("q",)), KeyPath(("k",))), Transform.parse("concat(0)"))
        made = TieRecord(tie, spec(5, 4), (spec(2, 4), spec(3, 4)), DIGEST, (DIGEST, DIGEST[:-1] + "0"))

        assert Manifest.from_json(Manifest((made,)).to_json()).records == (made,)

    def test_originals_unpack(self) -> None:
        """What was packed comes back byte for byte, nothing included."""
        for raw in (b"", b"\x00\xff" * 1_000, b'{"__metadata__": {}}'):
            assert Original.pack("header", raw).unpack() == raw


class TestDamage:
    @pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, "1" * 5_000, '{"schema": "\ud800'])
    def test_no_json(self, text: str) -> None:
        """A text that is no JSON, or too deep or too long a number to be read, is refused."""
        with pytest.raises(ManifestError, match="the manifest is not JSON"):
            Manifest.from_json(text)

    @pytest.mark.parametrize("text", ["1", "[]", "null", '"x"', "NaN", "{}"])
    def test_no_manifest(self, text: str) -> None:
        """JSON that is no manifest is refused for the schema that it lacks."""
        with pytest.raises(ManifestError, match=re.escape("manifest.schema: expected a string, found None")):
            Manifest.from_json(text)

    def test_another_version(self) -> None:
        """A manifest of another version is refused with both versions, and the way out."""
        with pytest.raises(
            ManifestError, match=re.escape("of version `tiecli.manifest/2`, expected `tiecli")
        ) as caught:
            Manifest.from_json(damaged(lambda document: document.update(schema="tiecli.manifest/2")))

        assert caught.value.hints == ("Install a tiecli that knows this version.",)

    def test_a_repeated_key(self) -> None:
        """A key that stands twice in one object is refused: which one holds is open."""
        text = MANIFEST.to_json().replace('"exact":true', '"exact":true,"exact":false')

        with pytest.raises(ManifestError, match="holds the key `exact` twice"):
            Manifest.from_json(text)

    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            (("ties",), {}, "manifest.ties: expected a list, found {}"),
            (("ties",), None, "manifest.ties: expected a list, found None"),
            (("originals",), [], "manifest.originals: expected an object, found []"),
            (("ties", 0), 5, "manifest.ties[0].transform: expected a string, found None"),
            (("ties", 0, "transform"), 5, "manifest.ties[0].transform: expected a string, found 5"),
            (("ties", 0, "transform"), "spin", "manifest.ties[0].transform: "),
            (("ties", 0, "alias"), "head", "manifest.ties[0].alias: expected a list of keys, found 'head'"),
            (("ties", 0, "alias"), [1.5], "manifest.ties[0].alias: expected a list of keys, found [1.5]"),
            (("ties", 0, "alias"), [True], "manifest.ties[0].alias: expected a list of keys, found [True]"),
            (("ties", 0, "alias"), ["wte"], "manifest.ties[0]: `wte` cannot be tied to itself"),
            (("ties", 0, "canonicals"), [], "manifest.ties[0]: 0 canonicals, 1 specs and 1 digests"),
            (("ties", 0, "canonicals"), [[["x"]]], "manifest.ties[0].canonicals[0]: expected a list of keys"),
            (("ties", 0, "canonical_digests"), [], "manifest.ties[0]: 1 canonicals, 1 specs and 0 digests"),
            (
                ("ties", 0, "canonical_digests"),
                [7],
                "canonical_digests[0]: expected `xxh3_128:` and 32 hex digits, found 7",
            ),
            (("ties", 0, "alias_digest"), "md5:0", "manifest.ties[0].alias_digest: expected `xxh3_128:`"),
            (("ties", 0, "alias_digest"), DIGEST.upper(), "manifest.ties[0].alias_digest: expected `xxh3_128:`"),
            (("ties", 0, "alias_digest"), DIGEST + "0", "manifest.ties[0].alias_digest: expected `xxh3_128:`"),
            (("ties", 0, "exact"), 1, "manifest.ties[0].exact: expected true or false, found 1"),
            (("ties", 0, "alias_spec", "dtype"), "F99", "manifest.ties[0].alias_spec.dtype: unknown dtype `F99`"),
            (("ties", 0, "alias_spec", "shape"), [4, 3.0], "alias_spec.shape: expected lengths from 0 to 2⁶³"),
            (("ties", 0, "alias_spec", "shape"), [-1], "alias_spec.shape: expected lengths from 0 to 2⁶³"),
            (("ties", 0, "alias_spec", "shape"), [True], "alias_spec.shape: expected lengths from 0 to 2⁶³"),
            (("ties", 0, "alias_spec", "shape"), [10**4_000], "alias_spec.shape: expected lengths from 0 to 2⁶³"),
            (("ties", 0, "alias_spec", "shape"), [3, 4], "ties[0]: the transform gives F32 4×3, the alias is F32 3×4"),
            (("ties", 0, "canonical_specs", 0, "shape"), [3], "manifest.ties[0]: "),
            (("originals", "."), 5, 'manifest.originals["."].part: expected a string'),
            (("originals", ".", "part"), "tail", ".part: expected `header`, `text` or `array`, found `tail`"),
            (("originals", ".", "nbytes"), -1, 'originals["."].nbytes: expected a number of at least 0, found -1'),
            (("originals", ".", "nbytes"), False, 'originals["."].nbytes: expected a number, found False'),
            (("originals", ".", "nbytes"), 1.0, 'originals["."].nbytes: expected a number, found 1.0'),
            (("originals", ".", "packed"), None, 'originals["."].packed: expected a string, found None'),
            (("originals", ".", "written"), 0, 'originals["."].written: expected a string, found 0'),
        ],
    )
    def test_the_place_is_named(self, place: tuple[str | int, ...], value: object, message: str) -> None:
        """A wrong value anywhere is refused with its place, what was expected and what was found."""

        def damage(document: Document) -> None:
            node: Any = document
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value

        with pytest.raises(ManifestError, match=re.escape(message)) as caught:
            Manifest.from_json(damaged(damage))
        assert caught.value.hints

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            (record("head", "other"), "`head` is tied twice"),
            (record("wte", "head"), "ties form a cycle"),
        ],
    )
    def test_contradictions(self, second: TieRecord, message: str) -> None:
        """Ties that cannot hold together are refused as the manifest's fault."""
        ties = json.loads(MANIFEST.to_json())["ties"] + json.loads(Manifest((second,)).to_json())["ties"]

        with pytest.raises(ManifestError, match=f"the manifest contradicts itself: {message}"):
            Manifest.from_json(damaged(lambda document: document.update(ties=ties)))


class TestOriginals:
    def test_a_bomb(self) -> None:
        """A few bytes that unpack to gigabytes are not unpacked further than they claim to go."""
        squeezer = zlib.compressobj(9)
        packed = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(64)) + squeezer.flush()
        bomb = Original("header", 1_000, base64.b85encode(packed).decode())

        with pytest.raises(ManifestError, match="does not unpack to 1,000 bytes"):
            bomb.unpack()

    def test_a_claim_beyond_the_limit(self) -> None:
        """A size that no header may have is refused, without memory of that size."""
        packed = base64.b85encode(zlib.compress(b"x")).decode()

        with pytest.raises(ManifestError, match="does not unpack to 1,000,000,000,000 bytes"):
            Original("header", 10**12, packed).unpack()
        assert LIMIT_BYTES < 10**12

    @pytest.mark.parametrize(
        ("packed", "message"),
        [
            ('"', "bad base85 character|base85"),
            ("é", "ASCII"),
            ("", "does not unpack to 5 bytes"),
            (base64.b85encode(b"no zlib").decode(), "incorrect header check"),
            (base64.b85encode(zlib.compress(b"hello")[:-4]).decode(), "does not unpack to 5 bytes"),
            (base64.b85encode(zlib.compress(b"hell")).decode(), "does not unpack to 5 bytes"),
            (base64.b85encode(zlib.compress(b"hello!")).decode(), "does not unpack to 5 bytes"),
        ],
    )
    def test_damaged_packing(self, packed: str, message: str) -> None:
        """Packed bytes that are cut, garbled or of another size are refused."""
        with pytest.raises(ManifestError, match=f"copy of an original text is damaged: .*({message})"):
            Original("text", 5, packed).unpack()
