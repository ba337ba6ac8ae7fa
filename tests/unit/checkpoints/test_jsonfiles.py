"""JSON files: what is refused, and that the style of a file is kept."""

from __future__ import annotations

import json

import pytest

from tiecli.checkpoints.jsonfiles import decode_object, encode_like
from tiecli.errors import OrbaxMetadataError


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "`_METADATA` is empty"),
        (b"\0\0\0", "`_METADATA` is empty"),
        (b'{"a": ', "`_METADATA` is not JSON, or is cut short: expecting value: line 1 column 7 (char 6)"),
        (b"\xef\xbb\xbf{}", "`_METADATA` is not JSON, or is cut short: unexpected utf-8 bom (decode using utf-8-sig)"),
        (b'{"a": "\xff"}', "`_METADATA` is not UTF-8"),
        (b'{"a": "\\ud800"}', "`_METADATA` is not UTF-8"),
        (b'{"\\uDC00": 1}', "`_METADATA` is not UTF-8"),
        (b"[1]", "`_METADATA` is damaged: it is no JSON object"),
        (b"[" * 100_000, "`_METADATA` is nested too deep"),
        (b'{"a": ' + b"1" * 5000 + b"}", "`_METADATA` is not JSON, or is cut short: exceeds the limit"),
    ],
)
def test_names_the_damage(raw: bytes, message: str) -> None:
    """Each kind is told apart, and has a hint."""
    with pytest.raises(OrbaxMetadataError) as caught:
        decode_object(raw, "_METADATA")

    assert caught.value.message.startswith(message)
    assert caught.value.hints


def test_reads_letters_of_every_spelling() -> None:
    """Letters beyond the first plane come as two escapes; alone each is none."""
    assert decode_object(b'{"\\ud83d\\ude00": "\xc3\xb6"}', "x") == {"😀": "ö"}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": [1, {"b": "\\u00f6"}]}',
        b'{"a":[1,{"b":"\xc3\xb6"}]}',
        b'{"a":[1,{"b":"\\u00f6"}]}',
        b'{"a": [1, {"b": "\xc3\xb6"}]}',
    ],
)
def test_keeps_the_style(raw: bytes) -> None:
    """Spaces and escapes stay as they are, whatever changes."""
    document = json.loads(raw)

    assert encode_like(document, raw, document) == raw
    assert encode_like({"a": 0} | document, raw, document) == raw
    assert encode_like(document["a"], raw, document) == raw[raw.index(b"[") : -1]


def test_an_unknown_style_becomes_that_of_python() -> None:
    """What somebody wrote by hand is written again as `json` does."""
    assert encode_like({"a": 1}, b'{ "a":0 }', {"a": 0}) == b'{"a": 1}'


def test_equal_keys_of_a_tree_are_one_object() -> None:
    """A tree of thousands of leaves has few kinds of keys; what merely equals one in Python stays what it is."""
    raw = b'[{"key": "w", "key_type": 2}, {"key": "w", "key_type": 2}, {"key": "w", "key_type": 2.0},'
    raw += b' {"key": "w", "key_type": 1}, {"key": "w", "key_type": true}, {"key_type": 2, "key": "w"}]'
    raw = b'{"keys": ' + raw + b"}"

    keys = decode_object(raw, "_METADATA")["keys"]

    assert keys[0] is keys[1]
    assert len({id(key) for key in keys}) == 5
    assert json.dumps({"keys": keys}).encode() == raw
