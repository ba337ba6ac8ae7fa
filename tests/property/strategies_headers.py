"""Safetensors files, valid, odd and damaged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.unit.checkpoints.safetensors.files import BITS, put_together

names = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ["a", "b", "layers.0.w", "true", "-0", 'say "hi"']
)
shapes = st.lists(st.integers(0, 4), max_size=3)
metadata = st.none() | st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=8), max_size=3)


@st.composite
def infos(draw: st.DrawFn) -> dict[str, Any]:
    """The tensors of a header, side by side, written in any order, some with extra fields."""
    described: dict[str, Any] = {}
    position = 0
    for name in draw(st.lists(names.filter(lambda name: name != "__metadata__"), max_size=4, unique=True)):
        dtype, shape = draw(st.sampled_from(sorted(BITS))), draw(shapes)
        bits = BITS[dtype]
        for length in shape:
            bits *= length
        if bits % 8:
            continue
        info = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + bits // 8]}
        position += bits // 8
        extra = draw(
            st.dictionaries(st.sampled_from(["x", "y"]), st.none() | st.booleans() | st.floats(-2, 2), max_size=1)
        )
        described[name] = info | extra
    return {name: described[name] for name in draw(st.permutations(sorted(described)))}


@st.composite
def odd_files(draw: st.DrawFn) -> bytes:
    """Valid files, whose headers no library would write just so."""
    header: dict[str, Any] = dict(draw(infos()))
    end = max((info["data_offsets"][1] for info in header.values()), default=0)
    about = draw(metadata)
    if about is not None:
        header = {"__metadata__": about, **header} if draw(st.booleans()) else {**header, "__metadata__": about}
    text = json.dumps(header, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
    spaces = st.text(st.sampled_from(" \n\r\t"), max_size=9)
    return put_together(draw(spaces) + text + draw(spaces), draw(st.binary(min_size=end, max_size=end)))


values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, -8, 0, 1, 2, 3, 4, 8, 12, 2**63, 2**64, 2**70]),
    st.floats(),
    st.sampled_from(["F32", "U8", "f32", "F4", "", "8"]),
    st.lists(st.integers(-1, 12), max_size=3),
    st.just({}),
)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Files of which one part has been exchanged for something else, or whose bytes are spoilt."""
    header: dict[str, Any] = dict(draw(infos()))
    end = max((info["data_offsets"][1] for info in header.values()), default=0)
    if header:
        name = draw(st.sampled_from(sorted(header)))
        field = draw(st.sampled_from([None, "dtype", "shape", "data_offsets", "x"]))
        header[name] = draw(values) if field is None else {**header[name], field: draw(values)}
    if draw(st.booleans()):
        header["__metadata__"] = draw(values | st.dictionaries(st.sampled_from("ab"), values, max_size=2))
    text = json.dumps(header)
    if draw(st.booleans()):
        # The same name once more, spelled with an escape.
        text = text.replace('"a":', '"a":5,"\\u0061":', 1)
    data = draw(st.binary(min_size=end, max_size=end + 1))
    file = bytearray(put_together(text, data))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(file) - 1))
        file[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
        if not file:
            break
    return bytes(file)


@st.composite
def crowded_files(draw: st.DrawFn) -> bytes:
    """Files whose tensors lie anywhere, one beside, inside or far from another, under few names."""
    entries = []
    for _ in range(draw(st.integers(0, 4))):
        name = json.dumps(draw(st.sampled_from(["a", "b", "c", "\ud800", "__metadata__"])))
        begin, length = draw(st.integers(0, 6)), draw(st.integers(-1, 4))
        fields: dict[str, Any] = {
            "dtype": draw(st.sampled_from(["U8", "U8", "U8", "F4", "F16", "", "u8"])),
            "shape": [draw(st.sampled_from([length, length, 2]))],
            "data_offsets": [begin, begin + length],
        }
        text = json.dumps(fields)
        if draw(st.integers(0, 5)) == 0:
            text = text.replace("{", draw(st.sampled_from(['{"shape":[1],', '{"x":0,"x":0,', '{"dtype":"U8",'])), 1)
        entries.append(f"{name}:{text}")
    return put_together("{" + ",".join(entries) + "}", draw(st.binary(max_size=12)))


@st.composite
def tied_files(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """Files in which some leaves are copies of others, and which copies what."""
    header: dict[str, Any] = dict(draw(infos().filter(bool)))
    stored = sorted(header, key=lambda name: header[name]["data_offsets"])
    leaves = {
        name: draw(st.binary(min_size=(at := header[name]["data_offsets"])[1] - at[0], max_size=at[1] - at[0]))
        for name in stored
    }
    pairs: dict[str, str] = {}
    for number in range(draw(st.integers(1, 3))):
        canonical = draw(st.sampled_from(stored))
        alias = f"alias{number}"
        pairs[alias] = canonical
        leaves[alias] = leaves[canonical]
        header[alias] = header[canonical]
    written: dict[str, Any] = {}
    data = b""
    for name in draw(st.permutations(list(leaves))):
        written[name] = {**header[name], "data_offsets": [len(data), len(data) + len(leaves[name])]}
        data += leaves[name]
    # Empty leaves may stand at the same place in either order, others may not.
    header = {name: written[name] for name in draw(st.permutations(list(written)))}
    about = draw(metadata)
    if about is not None:
        header = {"__metadata__": about, **header}
    text = json.dumps(header, indent=draw(st.sampled_from([None, 2])), ensure_ascii=draw(st.booleans()))
    return put_together(text + draw(st.text(st.sampled_from(" \n"), max_size=9)), data), pairs
