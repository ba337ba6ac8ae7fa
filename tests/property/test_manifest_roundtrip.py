"""The manifest: `from_json` undoes `to_json`, and says nothing but `ManifestError` about the rest."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.property.strategies_keypaths import names, paths
from tiecli.errors import ManifestError, TieConflictError
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.manifest import Manifest, Original, TieRecord
from tiecli.ties import Tie
from tiecli.transforms import Transform

TRANSFORMS = ("same", "transpose", "[:2]", "[1]", "flip(0)", "pad(0,1,2)", "scale(0.1)", "'a b -> (a b)'", "cast(bf16)")

digests = st.text(alphabet="0123456789abcdef", min_size=32, max_size=32).map("xxh3_128:".__add__)
originals = st.builds(Original.pack, st.sampled_from(["header", "text"]), st.binary(max_size=200), digests)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), names)
documents = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))


@st.composite
def records(draw: st.DrawFn) -> TieRecord:
    """Makes a record whose specs agree with its transform."""
    spec = LeafSpec((draw(st.integers(2, 50)), draw(st.integers(2, 50))), DTYPES["F32"])
    transform = Transform.parse(draw(st.sampled_from(TRANSFORMS)))
    alias, canonical = draw(paths), draw(paths)
    assume(alias != canonical)
    made = transform.spec((spec,))
    return TieRecord(
        Tie(alias, (canonical,), transform), made, (spec,), draw(digests), (draw(digests),), draw(st.booleans())
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Makes a manifest whose ties hold together."""
    try:
        return Manifest(
            tuple(draw(st.lists(records(), max_size=3))), draw(st.dictionaries(names, originals, max_size=2))
        )
    except TieConflictError:
        assume(False)
        raise


@given(manifests())
def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    """`from_json(to_json(manifest)) == manifest`, odd names and floats included."""
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(st.one_of(documents.map(json.dumps), st.text(max_size=40)))
@example("[" * 3_000)
@example('{"schema": ' + "[" * 900 + "]" * 900 + "}")
def test_any_text_is_refused_in_one_way(text: str) -> None:
    """What is no manifest raises `ManifestError`, whatever else it is."""
    assert not _reads(text)


@given(manifests().filter(lambda manifest: manifest.records or manifest.originals), st.data())
def test_any_single_damage_is_refused_in_one_way(manifest: Manifest, data: st.DataObject) -> None:
    """With one value of a manifest replaced, it is read as a manifest or refused as none."""
    document = json.loads(manifest.to_json())
    node, key = data.draw(st.sampled_from(_places(document)))
    node[key] = data.draw(documents)

    assert _reads(json.dumps(document)) in (True, False)


@given(st.binary(max_size=2_000))
def test_originals_come_back(raw: bytes) -> None:
    """Whatever was packed is unpacked byte for byte."""
    assert Original.pack("header", raw).unpack() == raw


def _reads(text: str) -> bool:
    try:
        manifest = Manifest.from_json(text)
        for original in manifest.originals.values():
            original.unpack()
    except ManifestError:
        return False
    return True


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Lists every place of a document as its container and its key there."""
    if not isinstance(node, dict | list):
        return []
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    return [(node, key) for key in keys] + [place for key in keys for place in _places(node[key])]
