"""Damage: the careful reading of a safetensors header, which names what is wrong and where."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tiecli.errors import HeaderError, UncoveredBytesError
from tiecli.leaves import DTYPES, LeafSpec, find_dtype

_AGAIN = "Download the file again, or write it again with `safetensors.save_file`."
_LIMIT = 2**64
# Source: serde_json 1.0, default recursion limit.
_LIMIT_DEPTH = 127
TOO_DEEP = f"nested too deep: more than {_LIMIT_DEPTH} levels"
# Python converts no more than 4300, lest it take forever.
_LIMIT_DIGITS = 1000
_FIELDS = ("dtype", "shape", "data_offsets")
_FIELD_SET = frozenset(_FIELDS)


class IllegibleError(ValueError):
    """A header is no JSON object at all; the text follows "the header is"."""


class Repeated(dict[str, Any]):
    """An object in which a key stood twice; the last of its values holds.

    Attributes:
        pairs: All that stood there.
    """

    pairs: tuple[tuple[str, Any], ...] = ()

    def count_repeats(self) -> dict[str, int]:
        """Counts how often each repeated key stands there, in the order of their first mention."""
        return {key: count for key, count in Counter(key for key, _ in self.pairs).items() if count > 1}


def _keep_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    repeated = Repeated(members)
    repeated.pairs = tuple(pairs)
    return repeated


def _parse_integer(digits: str) -> int | float:
    # The reference reads `-0` as a float, and so as no size.
    if digits == "-0":
        return -0.0
    if len(digits) > _LIMIT_DIGITS:
        raise ValueError(f"the number {digits[:20]}… has {len(digits):,} digits")
    return int(digits)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"`{name}` is no JSON number")


def _refuse_infinite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:20]} is out of range")
    return number


def read_json(raw: bytes, file: str) -> dict[str, Any]:
    """Reads the JSON of a header into one object, with every level checked.

    Returns:
        Tensor names to what the header says of each, as objects; `__metadata__` among them
        only if it is a map of strings.

    Raises:
        HeaderError: It is no such object; says what it is.
    """
    try:
        root = decode_header(raw)
    except IllegibleError as error:
        raise HeaderError(f"the header of `{file}` is {error}", _AGAIN) from error
    if isinstance(root, Repeated):
        key = next(iter(root.count_repeats()))
        what = "`__metadata__`" if key == "__metadata__" else f"the tensor `{key}`"
        raise HeaderError(
            f"the header of `{file}` names {what} twice; which one holds is anybody's guess",
            "Load it with the program that wrote it, and save it again.",
        )
    if not _is_metadata(root.get("__metadata__"), file):
        root.pop("__metadata__", None)
    for name, info in root.items():
        # An object with the three fields and nothing else is by far the most common.
        if name != "__metadata__" and not (type(info) is dict and info.keys() == _FIELD_SET):
            root[name] = read_info(info, f"tensor `{name}` of `{file}`")
    if any(len(info) > len(_FIELDS) for info in root.values()) and is_too_deep(root):
        raise HeaderError(f"the header of `{file}` is {TOO_DEEP}", _AGAIN)
    if b"\\u" in raw:
        _check_encodable(root, file)
    return root


def decode_header(raw: bytes) -> dict[str, Any]:
    """Reads the JSON of a header, whatever its members are; objects with repeated keys are `Repeated`.

    Raises:
        IllegibleError: It is no object; says what it is.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise IllegibleError("not plain JSON: it begins with a byte order mark, expected `{`")
    try:
        root = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_keep_repeats,
            parse_int=_parse_integer,
            parse_float=_refuse_infinite,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise IllegibleError(f"not UTF-8: byte {error.start + 8} of the file") from error
    except json.JSONDecodeError as error:
        raise IllegibleError(f"not JSON: {error.msg.lower()} at character {error.pos}") from error
    except RecursionError as error:
        raise IllegibleError("nested too deep") from error
    except ValueError as error:
        raise IllegibleError(f"not JSON: {str(error).split(';')[0]}") from error
    if not isinstance(root, dict):
        raise IllegibleError(f"{name_kind(root)}, expected an object")
    return root


def name_kind(value: object) -> str:
    """Names a JSON value that stands where another was expected: `a list of 2`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value!r:.30}"
        case str():
            return f"the string {json.dumps(value)[:30]}"
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"


def is_too_deep(root: Mapping[str, Any]) -> bool:
    """Whether a header is nested deeper than the reference reads."""
    level: list[Any] = [root]
    for _ in range(_LIMIT_DEPTH):
        members = (value.values() if isinstance(value, dict) else value for value in level)
        level = [inner for values in members for inner in values if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _is_metadata(metadata: object, file: str) -> bool:
    if metadata is None:
        return False
    hint = "Metadata is a flat map of strings; turn other values into strings with `json.dumps` before saving."
    if not isinstance(metadata, dict):
        found = name_kind(metadata)
        raise HeaderError(f"the `__metadata__` of `{file}` is {found}, expected an object of strings", hint)
    if isinstance(metadata, Repeated):
        key = next(iter(metadata.count_repeats()))
        raise HeaderError(f"the `__metadata__` of `{file}` holds the key `{key}` twice", hint)
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise HeaderError(f"the `__metadata__` of `{file}`: `{key}` is {name_kind(value)}, expected a string", hint)
    return True


def read_info(info: object, where: str) -> dict[str, Any]:
    """Reads what a header says of one tensor into an object with its three fields.

    Raises:
        HeaderError: A field is missing or stands twice, or it is no object.
    """
    if isinstance(info, list) and len(info) == 3:
        # The reference also takes the three fields as a list, in this order.
        return dict(zip(_FIELDS, info, strict=True))
    if not isinstance(info, dict):
        raise HeaderError(f"{where}: expected an object with {_and(_FIELDS)}, found {name_kind(info)}", _AGAIN)
    if isinstance(info, Repeated):
        raise HeaderError(f"{where}: the field `{next(iter(info.count_repeats()))}` stands twice", _AGAIN)
    missing = [field for field in _FIELDS if field not in info]
    if missing:
        raise HeaderError(f"{where}: {_and(missing)} missing", _AGAIN)
    return info


def _and(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _check_encodable(root: Mapping[str, Any], file: str) -> None:
    for name, info in root.items():
        if not is_encodable([name, info]):
            raise HeaderError(f"the header of `{file}`: {json.dumps(name)[:60]} holds half of a surrogate pair", _AGAIN)


def is_encodable(value: object) -> bool:
    """Whether a JSON value can be written as UTF-8: no string in it holds half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check_tensors(infos: Mapping[str, Any], file: str) -> tuple[dict[str, LeafSpec], tuple[str, ...]]:
    """Checks every tensor of a header, and that they lie side by side.

    Returns:
        Shape and dtype of each tensor as written, and their names by where they lie.

    Raises:
        HeaderError: A field of a tensor is wrong, or two tensors overlap.
        UncoveredBytesError: There is a hole before a tensor.
    """
    specs: dict[str, LeafSpec] = {}
    for name, info in infos.items():
        where = f"tensor `{name}` of `{file}`"
        begin, end = check_offsets(info["data_offsets"], where)
        spec = LeafSpec(check_shape(info["shape"], where), DTYPES[check_dtype(info["dtype"], where)])
        if spec.size * spec.dtype.bits % 8:
            raise HeaderError(f"{where}: {spec!s:.60} does not fill whole bytes", _AGAIN)
        if spec.nbytes != end - begin:
            raise HeaderError(
                f"{where}: {spec!s:.60} takes {spec.nbytes:,} bytes, its offsets cover {end - begin:,}", _AGAIN
            )
        specs[name] = spec
    order = tuple(sorted(infos, key=lambda name: (*infos[name]["data_offsets"],)))
    _check_cover(infos, order, file)
    return specs, order


def check_offsets(offsets: object, where: str) -> tuple[int, int]:
    """Checks the `data_offsets` of one tensor, and gives begin and end.

    Raises:
        HeaderError: They are no two counts, the first not behind the second.
    """
    if not isinstance(offsets, list) or len(offsets) != 2:
        found = f"{len(offsets)} of them" if isinstance(offsets, list) else name_kind(offsets)
        raise HeaderError(f"{where}: expected two `data_offsets`, found {found}", _AGAIN)
    begin, end = (_check_count(value, f"{where}: a data offset") for value in offsets)
    if begin > end:
        raise HeaderError(f"{where}: its data begins at {begin:,}, behind its end at {end:,}", _AGAIN)
    return begin, end


def _check_count(value: object, what: str) -> int:
    if type(value) is not int:
        raise HeaderError(f"{what} is {name_kind(value)}, expected a whole number", _AGAIN)
    if value < 0:
        raise HeaderError(f"{what} is negative: {value}", _AGAIN)
    if value >= _LIMIT:
        raise HeaderError(f"{what} is {value!r:.30}, more than 64 bits hold", _AGAIN)
    return value


def check_shape(shape: object, where: str) -> tuple[int, ...]:
    """Checks the shape of one tensor.

    Raises:
        HeaderError: It is no list of lengths, or holds more elements than can be counted.
    """
    if not isinstance(shape, list):
        raise HeaderError(f"{where}: its shape is {name_kind(shape)}, expected a list of lengths", _AGAIN)
    size = 1
    for length in shape:
        # From the left, as the reference does it: [0, 2^40, 2^40] is empty, [2^40, 2^40, 0] overflows.
        if type(length) is not int or not 0 <= length < _LIMIT:
            _check_count(length, f"{where}: a length in its shape")
        size *= length
        if size >= _LIMIT:
            raise HeaderError(f"{where}: its shape {shape!r:.60} holds more elements than 64 bits count", _AGAIN)
    return tuple(shape)


def check_dtype(dtype: object, where: str) -> str:
    """Checks the dtype of one tensor.

    Raises:
        HeaderError: It is no name that the format knows.
    """
    if not isinstance(dtype, str):
        raise HeaderError(f"{where}: its dtype is {name_kind(dtype)}, expected a name such as `BF16`", _AGAIN)
    if dtype not in DTYPES:
        known = find_dtype(dtype)
        near = [known.name] if known else difflib.get_close_matches(dtype[:30].upper(), DTYPES, 1, 0.4)
        hint = f"The nearest that safetensors knows is `{near[0]}`." if near else f"Known are {', '.join(DTYPES)}."
        raise HeaderError(f"{where}: unknown dtype `{dtype:.30}`", hint)
    return dtype


def _check_cover(infos: Mapping[str, Any], order: tuple[str, ...], file: str) -> None:
    position, before = 0, ""
    for name in order:
        begin, end = infos[name]["data_offsets"]
        if begin > position:
            place = f"between `{before}` and `{name}`" if before else f"before `{name}`"
            raise UncoveredBytesError(
                f"`{file}` has a hole of {begin - position:,} bytes {place}, which belong to no tensor", _AGAIN
            )
        if begin < position:
            raise HeaderError(
                f"`{file}`: the bytes of `{name}` begin at {begin:,}, inside `{before}`, which ends at {position:,}",
                "Two names cannot share bytes in this format; save a tied tensor once, then run `tiecli find`.",
            )
        position, before = end, name
