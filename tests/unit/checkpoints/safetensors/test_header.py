"""Headers: what is accepted, and what each kind of damage is called."""

from __future__ import annotations

import gc
import json
import math

import pytest

from tests.unit.checkpoints.safetensors.files import describe
from tiecli.checkpoints.safetensors.header import Header, _parse_carefully, parse_header
from tiecli.errors import HeaderError, TruncatedFileError, UncoveredBytesError

A = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
B = '"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}'


def parse(text: str | bytes, size: int | None = None) -> Header:
    """Parses a header of a file called `m`."""
    return parse_header(text.encode() if isinstance(text, str) else text, "m", size)


ACCEPTED = {
    "nothing": ("{}", {}, 0),
    "two": (f"{{{A},{B}}}", {"a": (2,), "b": (3,)}, 11),
    "written in another order than stored": (f"{{{B},{A}}}", {"b": (3,), "a": (2,)}, 11),
    "leading and trailing white space": (f" \n{{{A}}} \t\r\n", {"a": (2,)}, 8),
    "pretty": (json.dumps(json.loads(f"{{{A},{B}}}"), indent=4), {"a": (2,), "b": (3,)}, 11),
    "no metadata": (f'{{"__metadata__":null,{A}}}', {"a": (2,)}, 8),
    "a scalar": ('{"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}', {"s": ()}, 8),
    "an empty name": (f'{{"":{A[4:]}}}', {"": (2,)}, 8),
    "escapes": (f'{{"\\u0061\\"\\\\":{A[4:]}}}', {'a"\\': (2,)}, 8),
    "an extra field": (f'{{{A[:-1]},"x":{{"y":[true,null,1.5]}}}}}}', {"a": (2,)}, 8),
    "a tensor told as a list": ('{"a":["F32",[2],[0,8]]}', {"a": (2,)}, 8),
    "an empty leaf between": (
        '{"z":{"dtype":"F32","shape":[0,7],"data_offsets":[8,8]},' + A + "," + B + "}",
        {"z": (0, 7), "a": (2,), "b": (3,)},
        11,
    ),
    "an empty leaf of absurd lengths": (
        '{"z":{"dtype":"F32","shape":[0,1099511627776,1099511627776],"data_offsets":[0,0]}}',
        {"z": (0, 2**40, 2**40)},
        0,
    ),
    "two halves of a byte": ('{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}', {"a": (4,)}, 2),
    "misaligned": (
        '{"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"d":{"dtype":"F64","shape":[1],"data_offsets":[1,9]}}',
        {"u": (1,), "d": (1,)},
        9,
    ),
    "names that look like numbers and truths": (f'{{"true-0":{A[4:]}}}', {"true-0": (2,)}, 8),
}


@pytest.mark.parametrize(("text", "shapes", "size"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepts_what_the_format_allows(text: str, shapes: dict[str, tuple[int, ...]], size: int) -> None:
    """Everything that the reference reader accepts without ambiguity is read, in the order written."""
    header = parse(text, size)

    assert {name: spec.shape for name, spec in header.specs.items()} == shapes
    assert list(header.specs) == list(shapes)
    assert header.data_size == size
    assert header.raw == text.encode()


@pytest.mark.parametrize("text", [text for text, _, _ in ACCEPTED.values()], ids=ACCEPTED.keys())
def test_quick_and_careful_reading_agree(text: str) -> None:
    """The quick reading of a plain header gives what the careful one gives."""
    assert parse(text) == _parse_carefully(text.encode(), "m")


def test_orders_by_place() -> None:
    """The stored order is that of the offsets, whatever the order of the text."""
    assert parse(f"{{{B},{A}}}").order == ("a", "b")


def test_keeps_metadata_and_extra_fields() -> None:
    """Metadata and fields that nobody knows are kept as they are."""
    header = parse(f'{{"__metadata__":{{"k":"v \\"q\\""}},{A[:-1]},"x":[1]}}}}')

    assert header.metadata == {"k": 'v "q"'}
    assert header.infos["a"]["x"] == [1]
    assert parse(f"{{{A}}}").metadata is None
    assert parse(f'{{"__metadata__":{{}},{A}}}').metadata == {}


def test_shares_equal_specs() -> None:
    """Equal leaves of a large header share one spec."""
    infos = {f"w{i}": describe("BF16", [4, 2], 16 * i) for i in range(3)}

    specs = parse(json.dumps(infos)).specs

    assert specs["w0"] is specs["w1"] is specs["w2"]


def test_leaves_the_collector_as_it_was() -> None:
    """The garbage collector is on again afterwards, and stays off if it was off."""
    parse(f"{{{A}}}")
    assert gc.isenabled()
    gc.disable()
    try:
        parse(f"{{{A}}}")
        assert not gc.isenabled()
    finally:
        gc.enable()


def tensor(dtype: str = '"F32"', shape: str = "[2]", offsets: str = "[0,8]") -> str:
    """A header with one tensor `a`."""
    return f'{{"a":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}'


DAMAGED = {
    "not JSON": ("rubbish", "header of `m` is not JSON: expecting value at character 0"),
    "empty": ("", "not JSON: expecting value at character 0"),
    "cut": ('{"a":', "not JSON: expecting value at character 5"),
    "trailing text": (f"{{{A}}}x", "not JSON: extra data at character"),
    "trailing zeros": (f"{{{A}}}\0", "not JSON: extra data at character"),
    "a list": ("[]", "is a list of 0, expected an object"),
    "a number": ("1", "is the number 1, expected an object"),
    "byte order mark": ("\ufeff{}", "begins with a byte order mark"),
    "bad UTF-8": (b'{"\xff":1}', "is not UTF-8: byte 10 of the file"),
    "half a surrogate": (f'{{"\\ud800":{A[4:]}}}', "holds half of a surrogate pair"),
    "half a surrogate in metadata": ('{"__metadata__":{"k":"\\ud800"}}', "holds half of a surrogate pair"),
    "NaN": (f'{{{A[:-1]},"x":NaN}}}}', "`NaN` is no JSON number"),
    "Infinity": (tensor(shape="[Infinity]"), "`Infinity` is no JSON number"),
    "a number out of range": (f'{{{A[:-1]},"x":1e999}}}}', "the number 1e999 is out of range"),
    "digits without end": (f'{{{A[:-1]},"x":{"9" * 5000}}}}}', "not JSON: the number 9+… has 5,000 digits"),
    "JSON bomb": ("[" * 100_000, "is nested too deep"),
    "JSON bomb of objects": ('{"a":' * 100_000, "is nested too deep"),
    "deep extra field": (f'{{{A[:-1]},"x":{"[" * 200}{"]" * 200}}}}}', "nested too deep: more than 127 levels"),
    "repeated tensor": (f"{{{A},{A}}}", "names the tensor `a` twice"),
    "repeated tensor, hidden by an escape": (f'{{{A},"\\u0061":{A[4:]}}}', "names the tensor `a` twice"),
    "repeated tensor, the first one rubbish": (f'{{"a":5,{A}}}', "names the tensor `a` twice"),
    "repeated metadata": (f'{{"__metadata__":{{}},"__metadata__":{{}},{A}}}', "names `__metadata__` twice"),
    "repeated key in metadata": (
        f'{{"__metadata__":{{"k":"1","k":"2"}},{A}}}',
        "`__metadata__` of `m` holds the key `k` twice",
    ),
    "repeated field": (f'{{{A[:-1]},"dtype":"F32"}}}}', "tensor `a` of `m`: the field `dtype` stands twice"),
    "metadata is a number": (
        f'{{"__metadata__":1,{A}}}',
        "`__metadata__` of `m` is the number 1, expected an object of strings",
    ),
    "metadata is a list": (f'{{"__metadata__":[],{A}}}', "`__metadata__` of `m` is a list of 0, expected"),
    "metadata holds a number": (f'{{"__metadata__":{{"k":1}},{A}}}', "`k` is the number 1, expected a string"),
    "metadata holds null": (f'{{"__metadata__":{{"k":null}},{A}}}', "`k` is null, expected a string"),
    "metadata holds an object": (f'{{"__metadata__":{{"k":{{}}}},{A}}}', "`k` is an object, expected a string"),
    "tensor is a string": ('{"a":"x"}', 'tensor `a` of `m`: expected an object .* found the string "x"'),
    "tensor is a short list": ('{"a":["F32",[2]]}', "expected an object .* found a list of 2"),
    "no dtype": ('{"a":{"shape":[2],"data_offsets":[0,8]}}', "tensor `a` of `m`: `dtype` missing"),
    "no fields": ('{"a":{}}', "`dtype` and `shape` and `data_offsets` missing"),
    "unknown dtype": (tensor(dtype='"F128"'), "tensor `a` of `m`: unknown dtype `F128`"),
    "dtype in lower case": (tensor(dtype='"f32"'), "unknown dtype `f32`"),
    "dtype is a number": (tensor(dtype="4"), "its dtype is the number 4, expected a name"),
    "dtype is an object": (tensor(dtype='{"F32":null}'), "its dtype is an object, expected a name"),
    "negative length": (tensor(shape="[-2]"), "a length in its shape is negative: -2"),
    "two negative lengths": (tensor(shape="[-2,-1]"), "a length in its shape is negative: -2"),
    "length is a fraction": (tensor(shape="[2.0]"), "a length in its shape is the number 2.0, expected a whole number"),
    "length is true": (tensor(shape="[2,true]"), "a length in its shape is true, expected a whole number"),
    "length is null": (tensor(shape="[null]"), "a length in its shape is null"),
    "length is a string": (tensor(shape='["2"]'), 'a length in its shape is the string "2"'),
    "length overflows": (tensor(shape="[18446744073709551616,0]"), "is 18446744073709551616, more than 64 bits hold"),
    "size overflows": (
        tensor(shape="[1099511627776,1099511627776,0]", offsets="[0,0]"),
        "more elements than 64 bits count",
    ),
    "shape is a number": (tensor(shape="2"), "its shape is the number 2, expected a list of lengths"),
    "shape is an object": (tensor(shape='{"2":2}'), "its shape is an object"),
    "one offset": (tensor(offsets="[8]"), "expected two `data_offsets`, found 1 of them"),
    "three offsets": (tensor(offsets="[0,8,8]"), "expected two `data_offsets`, found 3 of them"),
    "offsets are a string": (tensor(offsets='"08"'), 'expected two `data_offsets`, found the string "08"'),
    "offsets are an object": (tensor(offsets='{"a":0,"b":8}'), "expected two `data_offsets`, found an object"),
    "negative offset": (tensor(offsets="[-8,0]"), "a data offset is negative: -8"),
    "minus zero": (tensor(offsets="[-0,8]"), "a data offset is the number -0.0, expected a whole number"),
    "offset is a fraction": (tensor(offsets="[0,8.0]"), "a data offset is the number 8.0"),
    "offset is false": (tensor(offsets="[false,8]"), "a data offset is false, expected a whole number"),
    "offset is a string": (tensor(offsets='["0","8"]'), "a data offset is the string"),
    "offset overflows": (tensor(offsets="[0,18446744073709551624]"), "more than 64 bits hold"),
    "begins behind its end": (tensor(offsets="[8,0]"), "its data begins at 8, behind its end at 0"),
    "size mismatch": (tensor(offsets="[0,12]"), "F32 2 takes 8 bytes, its offsets cover 12"),
    "half a byte": (tensor(dtype='"F4"', shape="[3]", offsets="[0,1]"), "F4 3 does not fill whole bytes"),
    "six bits": (tensor(dtype='"F6_E2M3"', shape="[2]", offsets="[0,1]"), "does not fill whole bytes"),
    "overlap": (
        f'{{{A},"b":{{"dtype":"U8","shape":[3],"data_offsets":[4,7]}}}}',
        "the bytes of `b` begin at 4, inside `a`, which ends at 8",
    ),
    "two names for the same bytes": (f'{{{A},"b":{A[4:]}}}', "begin at 0, inside `"),
    "an empty leaf inside another": (
        f'{{{A},"z":{{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}}}',
        "the bytes of `z` begin at 4, inside `a`",
    ),
}


@pytest.mark.parametrize(("text", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_names_the_damage(text: str | bytes, message: str) -> None:
    """Each kind of damage is told apart, with the place, what was found and what was expected."""
    with pytest.raises(HeaderError, match=message) as caught:
        parse(text)

    assert caught.value.hints
    assert not caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tensor(offsets="[4,12]"), "`m` has a hole of 4 bytes before `a`"),
        (f'{{{A},"b":{{"dtype":"U8","shape":[3],"data_offsets":[9,12]}}}}', "a hole of 1 bytes between `a` and `b`"),
    ],
)
def test_names_holes(text: str, message: str) -> None:
    """A hole is placed by the leaves around it."""
    with pytest.raises(UncoveredBytesError, match=message):
        parse(text)


def test_names_truncation() -> None:
    """Missing data is counted, and the last leaf named."""
    with pytest.raises(TruncatedFileError, match=r"promises 8 bytes of data \(up to the end of `a`\), 5 are there"):
        parse(f"{{{A}}}", 5)


@pytest.mark.parametrize(("text", "trailing"), [(f"{{{A}}}", 3), ("{}", 11)])
def test_names_trailing_bytes(text: str, trailing: int) -> None:
    """Data that no leaf covers is counted."""
    with pytest.raises(UncoveredBytesError, match=f"`m` has {trailing} trailing bytes that belong to no tensor"):
        parse(text, 11)


@pytest.mark.parametrize(
    ("spelling", "near"), [("f32", "F32"), ("BFLOAT16", "BF16"), ("float8_e4m3fn", "F8_E4M3"), ("Q", None)]
)
def test_suggests_a_dtype(spelling: str, near: str | None) -> None:
    """An unknown dtype is met with the nearest known one, or with all of them."""
    with pytest.raises(HeaderError, match=f"unknown dtype `{spelling}`") as caught:
        parse(tensor(dtype=f'"{spelling}"'))

    assert (f"`{near}`" if near else "Known are BOOL, F4") in caught.value.hints[0]


def test_many_leaves_stay_plain() -> None:
    """A header as libraries write it, a manifest in its metadata, takes the quick way."""
    infos = {
        f"layers.{i}.w": describe("F32", [math.factorial(i)], 4 * sum(map(math.factorial, range(i)))) for i in range(6)
    }
    text = json.dumps({"__metadata__": {"tiecli": json.dumps({"a": ["b", '"']})}, **infos}, ensure_ascii=False)

    assert parse(text).specs["layers.5.w"].shape == (120,)
