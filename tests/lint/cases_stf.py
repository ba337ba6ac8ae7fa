"""Cases of the rules about single files: their headers, and where their tensors lie."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.lint.building import Case, Leaf, write_file, write_raw, write_shards
from tests.unit.checkpoints.safetensors.surgery import tie
from tiecli.leaves import DTYPES

Build = Callable[[Path], Path]
NAME = "model.safetensors"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
TAG = {"format": "pt"}
A, B = "a.weight", "b.weight"
TWO: dict[str, Leaf] = {A: ("F32", (2, 2)), B: ("F32", (2,))}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4e" * 32 + b"\nsize 548105171\n"


def sound(leaves: Mapping[str, Leaf], metadata: Mapping[str, str] | None = TAG) -> Build:
    """A sound file."""
    return lambda directory: write_file(directory / NAME, leaves, metadata)


def entry(begin: int, end: int, dtype: object = "F32", shape: object = None) -> dict[str, Any]:
    """What a header says of a tensor; of a vector of floats if nothing else is told."""
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def stated(entries: Mapping[str, object], size: int, metadata: object = TAG) -> Build:
    """A file whose header says what it is told to, with so many bytes of data."""
    return lambda directory: write_raw(directory / NAME, {"__metadata__": metadata, **entries}, count_up(size))


def worded(text: str, size: int) -> Build:
    """A file with the text of a header, with so many bytes of data; `A` and `TAG` stand for what they do here."""
    raw = text.replace("TAG", json.dumps(TAG)).replace("A:", f"{json.dumps(A)}:").encode()
    return lambda directory: write_raw(directory / NAME, raw, count_up(size))


def count_up(size: int) -> bytes:
    """Bytes that are not all alike, and none of them zero."""
    return bytes(place % 251 + 1 for place in range(size))


def plain(content: bytes) -> Build:
    """A file with just these bytes."""

    def build(directory: Path) -> Path:
        (directory / NAME).write_bytes(content)
        return directory / NAME

    return build


def spoilt(change: Callable[[bytes], bytes]) -> Build:
    """A file that was sound before its bytes were changed."""

    def build(directory: Path) -> Path:
        path = write_file(directory / NAME, TWO)
        path.write_bytes(change(path.read_bytes()))
        return path

    return build


def sharded(change: Callable[[bytes], bytes]) -> Build:
    """Two shards and their index, the second shard with other bytes than it had."""

    def build(directory: Path) -> Path:
        write_shards(directory, {FIRST: {A: TWO[A]}, SECOND: {B: TWO[B]}})
        (directory / SECOND).write_bytes(change((directory / SECOND).read_bytes()))
        return directory

    return build


def emptied(directory: Path) -> Path:
    """Two shards, the second of which lost its only tensor to a tie."""
    same = np.linspace(1, 2, 12, dtype=np.float32).reshape(4, 3)
    write_shards(directory / "untied", {FIRST: {"wte.weight": same}, SECOND: {"lm_head.weight": same}})
    tie(directory / "untied", directory / "tied", {"lm_head.weight": "wte.weight"})
    assert (directory / "tied" / SECOND).exists()
    return directory / "tied"


def zipped() -> bytes:
    """What `torch.save` writes: an archive with a pickle in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({A: [1.0]}))
    return content.getvalue()


def padded(length: int) -> Build:
    """A file whose header is of so many bytes, spaces included."""
    header = json.dumps({"__metadata__": TAG, **SIDE_BY_SIDE}).encode().ljust(length)
    return lambda directory: write_raw(directory / NAME, header, count_up(16))


SIDE_BY_SIDE = {A: entry(0, 8), B: entry(8, 16)}
ONE = json.dumps(entry(0, 8))
OTHER = json.dumps(entry(8, 16))
bad = partial(Case, raises=True)
good = partial(Case, raises=False)

TRUNCATED = [
    bad("STF001", "data", spoilt(lambda raw: raw[:-4]), says=("needs 24 data bytes, file has 20", "1 of 2 tensors")),
    bad("STF001", "header", spoilt(lambda raw: raw[:40]), says=("file has 32",)),
    bad("STF001", "length", plain(b"\x58\x00\x00"), says=("3 bytes",)),
    bad("STF001", "empty-file", plain(b""), says=("empty",)),
    bad("STF001", "shard", sharded(lambda raw: raw[:-1])),
    bad("STF001", "header-of-a-shard", sharded(lambda raw: raw[:20])),
    good("STF001", "exactly-as-long", sound(TWO)),
    good("STF001", "byte-at-the-end", sound({A: ("F32", (2,)), B: ("U8", (1,))})),
    good("STF001", "scalar-at-the-end", sound({A: ("F32", (2,)), B: ("F64", ())})),
]
TRAILING = [
    bad(
        "STF002", "zeros", spoilt(lambda raw: raw + bytes(512)), says=("512 bytes follow the last tensor, `b.weight`",)
    ),
    bad("STF002", "newline", spoilt(lambda raw: raw + b"\n"), says=("1 byte follows",)),
    bad("STF002", "behind-no-tensor", stated({}, 64), says=("names no tensor",)),
    bad("STF002", "shard", sharded(lambda raw: raw + b"12345678")),
    good("STF002", "padded-header", padded(4088)),
    good("STF002", "header-in-another-order", stated({B: entry(8, 16), A: entry(0, 8)}, 16)),
]
HOLES = [
    bad(
        "STF003",
        "between",
        stated({A: entry(0, 8), B: entry(16, 24)}, 24),
        says=("Bytes 8-15", "between `a.weight` and `b.weight`"),
    ),
    bad("STF003", "at-the-start", stated({A: entry(4, 12)}, 12), says=("Bytes 0-3", "before `a.weight`")),
    bad("STF003", "of-one-byte", stated({A: entry(0, 8), B: entry(9, 17)}, 17), says=("Byte 8 ", "belongs")),
    bad("STF003", "two", stated({A: entry(4, 8), B: entry(12, 16)}, 16)),
    good("STF003", "offsets-in-another-order", stated({B: entry(8, 16), A: entry(0, 8), "c.bias": entry(16, 20)}, 20)),
    good("STF003", "odd-number-of-bytes-before", sound({"mask": ("U8", (3,)), A: ("F32", (2,))})),
]
OVERLAPS = [
    bad("STF004", "one-range", stated({A: entry(0, 8), B: entry(0, 8)}, 8), says=("share bytes 0-7",)),
    bad("STF004", "partly", stated({A: entry(0, 12), B: entry(8, 20)}, 20), says=("share bytes 8-11",)),
    bad("STF004", "inside", stated({A: entry(0, 16), B: entry(4, 8)}, 16), says=("share bytes 4-7",)),
    bad("STF004", "three", stated({A: entry(0, 8), B: entry(0, 8), "c.bias": entry(0, 8)}, 8)),
    good("STF004", "side-by-side", stated(SIDE_BY_SIDE, 16)),
    good("STF004", "side-by-side-in-another-order", stated({A: entry(8, 16), B: entry(0, 8)}, 16)),
    good("STF004", "equal-bytes", sound({A: np.ones(4, np.float32), B: np.ones(4, np.float32)})),
]
REPEATS = [
    bad(
        "STF005",
        "identical",
        worded(f'{{"__metadata__": TAG, A: {ONE}, A: {ONE}}}', 8),
        says=("`a.weight` appears 2 times in the header",),
    ),
    bad("STF005", "two-ranges", worded(f'{{"__metadata__": TAG, A: {ONE}, A: {OTHER}}}', 16)),
    bad("STF005", "two-ranges-turned", worded(f'{{"__metadata__": TAG, A: {OTHER}, A: {ONE}}}', 16)),
    bad("STF005", "one-beyond-the-end", worded(f'{{"__metadata__": TAG, A: {OTHER}, A: {ONE}}}', 8)),
    bad("STF005", "one-in-another", worded(f'{{"__metadata__": TAG, A: {ONE}, "b": {OTHER}, A: {OTHER}}}', 16)),
    bad("STF005", "spelled-with-an-escape", worded(f'{{"__metadata__": TAG, "\\u0061.weight": {ONE}, A: {ONE}}}', 8)),
    bad("STF005", "metadata", worded(f'{{"__metadata__": {{}}, "__metadata__": TAG, A: {ONE}}}', 8)),
    bad(
        "STF005",
        "inside-metadata",
        worded(f'{{"__metadata__": {{"k": "1", "k": "2", "format": "pt", "k": "1"}}, A: {ONE}}}', 8),
        says=("`k` appears 3 times in `__metadata__`",),
    ),
    bad(
        "STF005",
        "field-of-a-tensor",
        worded(f'{{"__metadata__": TAG, A: {{"shape": [3], {ONE[1:]}}}', 8),
        says=("`shape` appears 2 times in `a.weight`",),
    ),
    bad("STF005", "field-that-holds-otherwise", worded(f'{{"__metadata__": TAG, A: {ONE[:-1]}, "shape": [3]}}}}', 8)),
    good("STF005", "names-of-fields", sound({"shape": ("F32", (2,)), "dtype": ("F32", (3,))}, TAG | {"shape": "x"})),
    good("STF005", "keys-with-quotes", sound({'a"b': ("F32", (2,)), '"a"': ("F32", (3,))}, TAG | {'"': '""'})),
    good("STF005", "names-that-differ-in-case", sound({"w": ("F32", (2,)), "W": ("F32", (3,))})),
]
SIZES = [
    bad(
        "STF006",
        "range-too-short",
        stated({A: entry(0, 8, shape=[2, 2])}, 8),
        says=("F32 [2, 2] needs 16 bytes, its range has 8",),
    ),
    bad("STF006", "range-too-long", stated({A: entry(0, 16, shape=[2])}, 16)),
    bad("STF006", "neighbour-inside", stated({A: entry(0, 12, shape=[2]), B: entry(8, 16)}, 16)),
    bad("STF006", "neighbour-apart", stated({A: entry(0, 8, shape=[3]), B: entry(12, 20)}, 20)),
    bad("STF006", "range-to-nowhere", stated({A: entry(0, 1 << 40, shape=[2])}, 8)),
    bad("STF006", "other-dtype", stated({A: entry(0, 8, "BF16", [2])}, 8)),
    bad("STF006", "half-a-byte", stated({A: entry(0, 2, "F4", [3])}, 2), says=("needs 1.5 bytes",)),
    bad("STF006", "range-of-an-empty-one", stated({A: entry(0, 8, shape=[0]), B: entry(8, 16)}, 16)),
    good("STF006", "scalar", stated({A: entry(0, 4, shape=[])}, 4)),
    good("STF006", "two-to-a-byte", stated({A: entry(0, 3, "F4", [2, 3])}, 3)),
    good("STF006", "many-axes-of-one", stated({A: entry(0, 4, shape=[1] * 80)}, 4)),
]
TYPES = [
    bad("STF007", "placeholder", stated({A: entry(0, 8), B: entry(0, 0, "", [])}, 8), says=("and stores nothing",)),
    bad("STF007", "placeholder-inside", stated({A: entry(0, 8), B: entry(4, 4, "", [])}, 8)),
    bad("STF007", "name-of-numpy", stated({A: entry(0, 8, "bfloat16", [4])}, 8), says=("`bfloat16`",)),
    bad("STF007", "unheard-of", stated({A: entry(0, 8), B: entry(8, 32, "F96", [2])}, 32), says=("`F96`",)),
    good("STF007", "every-dtype-there-is", sound({f"{name}.weight": (name, (8, 4)) for name in DTYPES})),
    good("STF007", "six-bits", stated({A: entry(0, 3, "F6_E2M3", [4])}, 3)),
    good("STF007", "eight-bits", sound({A: ("F8_E4M3", (4, 2)), "a.scale": ("F8_E8M0", (4,))})),
]
UNREADABLE = [
    bad("STF008", "zeros-at-the-front", spoilt(lambda raw: bytes(8) + raw[8:]), says=("Header is empty",)),
    bad("STF008", "nothing-but-zeros", plain(bytes(4096)), says=("nothing but zero bytes",)),
    bad("STF008", "no-json", spoilt(lambda raw: raw.replace(b":", b";", 1)), says=("not JSON",)),
    bad("STF008", "no-utf-8", spoilt(lambda raw: raw.replace(b"a.weight", b"\xff.weight")), says=("not UTF-8",)),
    bad("STF008", "list", plain((8).to_bytes(8, "little") + b"[1,2,3] "), says=("a list of 3",)),
    bad("STF008", "deep", worded(f"{{A: {'[' * 5000}", 8), says=("nested too deep",)),
    bad("STF008", "endless", spoilt(lambda raw: b"\xff" * 8 + raw[8:]), says=("18,446,744,073,709,551,615 bytes",)),
    bad("STF008", "zip", plain(zipped()), says=("a zip archive",)),
    bad("STF008", "pickle", plain(pickle.dumps({A: [1.0] * 40}, 2)), says=("a Python pickle",)),
    bad("STF008", "gguf", plain(b"GGUF\x03\0\0\0" + count_up(64)), says=("a GGUF file",)),
    bad("STF008", "web-page", plain(b"<!DOCTYPE html><title>404</title>"), says=("a web page",)),
    bad("STF008", "shard-is-a-web-page", sharded(lambda _: b"<!DOCTYPE html><title>404</title>")),
    bad("STF008", "offsets-missing", stated({A: {"dtype": "F32", "shape": [2]}}, 8), says=("`data_offsets` missing",)),
    bad("STF008", "offsets-turned", stated({A: entry(8, 0, shape=[2])}, 8), says=("wrong about `a.weight`",)),
    bad("STF008", "shape-of-words", stated({A: entry(0, 8, shape=["2"])}, 8), says=('the string "2"',)),
    bad("STF008", "number-for-a-tensor", stated({A: 5, B: entry(8, 16)}, 16), says=("the number 5",)),
    bad("STF008", "metadata-is-a-list", stated(SIDE_BY_SIDE, 16, ["format"]), says=("`__metadata__`", "a list of 1")),
    bad("STF008", "half-a-pair", worded(f'{{"__metadata__": TAG, "\\ud800": {ONE}}}', 8), says=("surrogate",)),
    bad("STF008", "not-a-number", worded(f'{{"__metadata__": TAG, A: {ONE[:-1]}, "x": NaN}}}}', 8), says=("`NaN`",)),
    good("STF008", "header-that-begins-like-a-pickle", padded(0x280)),
    good("STF008", "extra-field", stated({A: entry(0, 8) | {"note": {"of": [1, None]}}}, 8)),
    good("STF008", "tensor-as-a-list", stated({A: ["F32", [2], [0, 8]]}, 8)),
    good("STF008", "names-in-any-script", sound({"слой.weight": ("F32", (2,)), "重み.weight": ("F32", (3,))})),
]
POINTERS = [
    bad("STF009", "pointer", plain(POINTER), says=("to 548,105,171 bytes",)),
    bad("STF009", "pointer-of-no-size", plain(POINTER[:60])),
    bad("STF009", "shard", sharded(lambda _: POINTER)),
    good("STF009", "pointer-in-metadata", sound(TWO, TAG | {"source": POINTER.decode()})),
    good("STF009", "pointer-in-the-data", sound({"text": np.frombuffer(POINTER, np.uint8)})),
]
METADATA = [
    bad("STF010", "number", stated(SIDE_BY_SIDE, 16, TAG | {"step": 7}), says=("`step` is the number 7",)),
    bad("STF010", "null", stated(SIDE_BY_SIDE, 16, TAG | {"step": None}), says=("`step` is null",)),
    bad("STF010", "object", stated(SIDE_BY_SIDE, 16, TAG | {"config": {"a": [1, "ü"]}}), says=("an object",)),
    bad("STF010", "format", stated(SIDE_BY_SIDE, 16, {"format": ["pt"]})),
    good("STF010", "json-as-text", stated(SIDE_BY_SIDE, 16, TAG | {"config": '{"a": [1, 2]}'})),
    good("STF010", "empty-string", stated(SIDE_BY_SIDE, 16, TAG | {"note": ""})),
]
FORMATS = [
    bad("STF011", "no-metadata", sound(TWO, None), says=("no `__metadata__`",)),
    bad("STF011", "empty-metadata", sound(TWO, {}), says=("no `__metadata__`",)),
    bad("STF011", "other-metadata", sound(TWO, {"ss_network_dim": "16"}), says=("has no `format`",)),
    bad("STF011", "names-of-flax", sound({"wte.embedding": ("F32", (4, 2)), "proj.kernel": ("F32", (2, 2))}, None)),
    bad("STF011", "null-metadata", stated(SIDE_BY_SIDE, 16, None)),
    good("STF011", "flax", sound({"wte.embedding": ("F32", (4, 2))}, {"format": "flax"})),
    good("STF011", "mlx", sound(TWO, {"format": "mlx"})),
]
EMPTY = [
    bad("STF012", "one", sound({A: ("F32", (0,)), B: ("F32", (2,))}), says=("`a.weight` has shape [0]",)),
    bad("STF012", "one-axis", sound({A: ("F32", (2,)), B: ("F32", (4, 0, 2))}), says=("[4, 0, 2]",)),
    bad(
        "STF012",
        "all",
        sound({f"h.{layer}.weight": ("BF16", (0,)) for layer in range(6)} | {"norm.weight": ("BF16", (2,))}),
        says=("6 of 7 tensors",),
    ),
    bad("STF012", "part-of-a-rank", sound({A: ("F32", (0, 8)), B: ("F32", (2,))}), says=("[0, 8]",)),
    good("STF012", "no-register-tokens", sound({"register_tokens": ("F32", (1, 0, 384)), B: ("F32", (2,))})),
    good("STF012", "scalar", sound({A: ("F32", ()), B: ("F32", (2,))})),
    good("STF012", "axes-of-one", sound({A: ("F32", (1, 1)), B: ("U8", (1,))})),
]
NO_TENSORS = [
    bad("STF013", "metadata-only", sound({})),
    bad("STF013", "nothing-at-all", sound({}, None)),
    good("STF013", "scalar-only", sound({"step": ("I64", ())})),
    good("STF013", "shard-that-tying-emptied", emptied),
]
ALIGNMENT = [
    bad("STF014", "odd-bytes-before", sound({"mask": ("U8", (3,)), A: ("F32", (2,))}), says=("not a multiple of 4",)),
    bad(
        "STF014",
        "header-not-padded",
        spoilt(lambda raw: (raw[0] + 1).to_bytes(8, "little") + raw[8 : 8 + raw[0]] + b" " + raw[8 + raw[0] :]),
        says=("and so does `b.weight`",),
    ),
    good("STF014", "wide-first", sound({A: ("F32", (2,)), "mask": ("U8", (3,))})),
    good("STF014", "bytes-anywhere", sound({"mask": ("U8", (3,)), "scale": ("F8_E8M0", (5,)), "bits": ("F4", (2,))})),
    good("STF014", "two-bytes-at-two", sound({A: ("BF16", (3,)), B: ("F16", (3,))})),
]

CASES: list[Case] = [
    *TRUNCATED, *TRAILING, *HOLES, *OVERLAPS, *REPEATS, *SIZES, *TYPES, *UNREADABLE, *POINTERS, *METADATA, *FORMATS,
    *EMPTY, *NO_TENSORS, *ALIGNMENT,
]  # fmt: skip
