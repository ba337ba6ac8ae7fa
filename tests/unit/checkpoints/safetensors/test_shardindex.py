"""Shard indexes: what is accepted, and what each kind of damage is called."""

from __future__ import annotations

import json

import pytest

from tiecli.checkpoints.safetensors.shardindex import check_agreement, find_emptied, parse_index, without_manifest
from tiecli.errors import IndexFileError, ShardMismatchError

NAME = "model.safetensors.index.json"


def test_reads_an_index() -> None:
    """Leaves, shards in the order of mention, and metadata are found; key order is kept."""
    index = parse_index(b'{"weight_map":{"b":"2","a":"1","c":"2"},"metadata":{"total_size":3}}', NAME)

    assert index.shards == ("2", "1")
    assert index.metadata == {"total_size": 3}
    assert list(index.document) == ["weight_map", "metadata"]


@pytest.mark.parametrize("metadata", ["", '"metadata":null,'])
def test_needs_no_metadata(metadata: str) -> None:
    """An index without metadata is read."""
    assert parse_index(f'{{{metadata}"weight_map":{{}}}}'.encode(), NAME).metadata == {}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is not JSON: expecting value"),
        (b"\xef\xbb\xbf{}", "is not JSON: unexpected utf-8 bom"),
        (b'{"\xff":1}', "is not UTF-8"),
        (b'{"weight_map":{"\\ud800":"s"}}', "is not UTF-8"),
        (b"[" * 100_000, "is nested too deep"),
        (b"[]", "is no JSON object"),
        (b"{}", "has no `weight_map` object"),
        (b'{"weight_map":["a"]}', "has no `weight_map` object"),
        (b'{"weight_map":{"a":1}}', "`a` maps to 1, expected a file name"),
        (b'{"weight_map":{"a":null}}', "`a` maps to null, expected a file name"),
        (b'{"weight_map":{"a":"1","a":"2"}}', "holds the key `a` twice"),
        (b'{"weight_map":{},"metadata":[1]}', "`metadata` is no object"),
    ],
)
def test_names_the_damage(raw: bytes, message: str) -> None:
    """Each kind of damage is told apart."""
    with pytest.raises(IndexFileError, match=message) as caught:
        parse_index(raw, NAME)

    assert caught.value.hints


@pytest.mark.parametrize(
    "shard",
    [
        "../x.safetensors",
        "a/../../x",
        "/etc/passwd",
        "..",
        "",
        "a\\b",
        "..\\x",
        "a\0b",
        "C:x",
        "./x",
        "a//b",
        "a/",
        ".",
    ],
)
def test_refuses_to_leave_the_directory(shard: str) -> None:
    """A shard name that leads out, on any system, or that is spelled in two ways, is refused."""
    with pytest.raises(IndexFileError, match=r"does not stay in its directory|in a roundabout way"):
        parse_index(json.dumps({"weight_map": {"a": shard}}).encode(), NAME)


@pytest.mark.parametrize(
    ("holdings", "message"),
    [
        ([("1", ["a"]), ("2", [])], r"says that `b` is in `2`, but it is not there"),
        ([("1", ["a", "b"]), ("2", [])], r"says that `b` is in `2`, but it is in `1`"),
        ([("1", ["a"]), ("2", ["b", "c"])], r"`2` holds `c`, which `model.* does not list"),
        ([("1", ["a", "b"]), ("2", ["b"])], r"`b` is stored twice: in `1` and in `2`"),
    ],
)
def test_names_disagreement(holdings: list[tuple[str, list[str]]], message: str) -> None:
    """The leaf and the shard on which index and shards disagree are named."""
    index = parse_index(b'{"weight_map":{"a":"1","b":"2"}}', NAME)

    check_agreement(index, [("2", {"b": 0}), ("1", {"a": 0})])
    with pytest.raises(ShardMismatchError, match=message):
        check_agreement(index, [(shard, dict.fromkeys(leaves)) for shard, leaves in holdings])


def test_finds_emptied_shards() -> None:
    """A shard that only the manifest names is found; names that lead out are not followed."""
    manifest = {"originals": {"1": {"part": "header"}, "3": {"part": "header"}, "config.json": {"part": "text"}}}
    document = {"metadata": {"tiecli": json.dumps(manifest)}, "weight_map": {"a": "1"}}

    assert find_emptied(parse_index(json.dumps(document).encode(), NAME)) == ("3",)
    assert find_emptied(parse_index(b'{"weight_map":{"a":"1"},"metadata":{"tiecli":"rubbish"}}', NAME)) == ()
    assert find_emptied(parse_index(b'{"weight_map":{"a":"1"},"metadata":{"tiecli":5}}', NAME)) == ()


def test_leaves_the_manifest_out() -> None:
    """Only tiecli's own entry is left out, and the document given is not touched."""
    document = {"metadata": {"tiecli": "x", "total_size": 1}, "weight_map": {}}

    assert without_manifest(document) == {"metadata": {"total_size": 1}, "weight_map": {}}
    assert document["metadata"] == {"tiecli": "x", "total_size": 1}
