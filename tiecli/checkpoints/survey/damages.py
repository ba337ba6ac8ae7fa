"""Damages: the lenient reading of a header that the strict one refused; it goes on, and lists all that is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiecli.checkpoints.collecting import pause_collecting
from tiecli.checkpoints.safetensors.damage import (
    TOO_DEEP,
    IllegibleError,
    Repeated,
    check_dtype,
    check_offsets,
    check_shape,
    decode_header,
    is_encodable,
    is_too_deep,
    name_kind,
    read_info,
)
from tiecli.checkpoints.survey.files import Damage
from tiecli.errors import HeaderError
from tiecli.leaves import DTYPES, LeafSpec

_METADATA = "__metadata__"


@dataclass(slots=True)
class LenientReading:
    """What can be told of a damaged header; filled in as it is read.

    Attributes:
        legible: Whether it is a JSON object.
        infos: What it says of each tensor.
        specs: Shape and dtype of each tensor for which both are valid.
        metadata: Its `__metadata__`, if that is an object.
        damages: What is wrong.
        ranges: Where each tensor lies, with its name; a key that stands there twice has two.
        needs: How many bytes each tensor needs whose range is of another length.
        repeated: Tensors whose key, or a key of which, stands there twice; whatever else is wrong with
            them may follow from that.
        doubtful: Tensors whose ranges may be wrong, for a reason that is among the damages.
        lost: Whether the range of some tensor is unknown.
    """

    legible: bool = True
    infos: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    specs: dict[str, LeafSpec] = field(default_factory=dict)
    metadata: Mapping[str, Any] | None = None
    damages: list[Damage] = field(default_factory=list)
    ranges: set[tuple[int, int, str]] = field(default_factory=set)
    needs: dict[str, int] = field(default_factory=dict)
    repeated: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    lost: bool = False

    def report(self, reason: str, *leaves: str) -> None:
        """Notes that something cannot be read."""
        self.damages.append(Damage("unreadable", leaves, {"reason": reason}))

    def report_repeats(self, members: object, inside: str, *leaves: str) -> None:
        """Notes the keys that stand more than once in an object."""
        for key, count in members.count_repeats().items() if isinstance(members, Repeated) else ():
            shown = key.encode("utf-8", "backslashreplace").decode()
            named = leaves or ((shown,) if not inside and key != _METADATA else ())
            self.damages.append(Damage("repeated-key", named, {"key": shown, "count": count, "inside": inside}))


def read_leniently(raw: bytes, have: int) -> LenientReading:
    """Reads a header that the strict reading refused, as far as it can be read.

    Args:
        raw: The header, its length not included.
        have: How many bytes of data follow it.
    """
    with pause_collecting():
        reading = LenientReading()
        try:
            root = decode_header(raw)
            if is_too_deep(root):
                raise IllegibleError(TOO_DEEP)
        except IllegibleError as error:
            reading.legible = False
            reading.report(f"{error}" if raw else "empty: its length is given as 0")
            return reading
        escapes = b"\\u" in raw
        _read_root(reading, root, escapes=escapes)
        _check_cover(reading, have)
        return reading


def _read_root(reading: LenientReading, root: dict[str, Any], *, escapes: bool) -> None:
    if isinstance(root, Repeated):
        _read_repeats(reading, root)
    _read_metadata(reading, root.pop(_METADATA, None), escapes=escapes)
    for name, info in root.items():
        if escapes and not is_encodable([name, info]):
            reading.report(f"not Unicode: {json.dumps(name)[:60]} holds half of a surrogate pair")
            reading.lost = True
            continue
        _read_tensor(reading, name, info)


def _read_repeats(reading: LenientReading, root: Repeated) -> None:
    reading.report_repeats(root, "")
    reading.repeated.update(root.count_repeats())
    reading.doubtful.update(reading.repeated)
    for name, info in root.pairs:
        if name in reading.repeated and name != _METADATA:
            try:
                offsets = read_info(info, "")["data_offsets"]
                reading.ranges.add((*check_offsets(offsets, ""), name))
            except HeaderError:
                reading.lost = True


def _read_metadata(reading: LenientReading, metadata: object, *, escapes: bool) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        reading.report(f"wrong about `{_METADATA}`: it is {name_kind(metadata)}, expected an object of strings")
        return
    reading.report_repeats(metadata, _METADATA)
    repeats = metadata.count_repeats() if isinstance(metadata, Repeated) else ()
    reading.metadata = kept = dict(metadata)
    for key, value in metadata.items():
        if escapes and not is_encodable([key, value]):
            reading.report(f"not Unicode: {json.dumps(key)[:60]} in `{_METADATA}` holds half of a surrogate pair")
            del kept[key]
        elif not isinstance(value, str) and key not in repeats:
            facts = {"key": key, "type": name_kind(value), "text": json.dumps(value, ensure_ascii=False)}
            reading.damages.append(Damage("metadata-type", (), facts))


def _read_tensor(reading: LenientReading, name: str, info: object) -> None:
    if not isinstance(info, Repeated):
        _read_info(reading, name, info)
        return
    reading.report_repeats(info, name, name)
    reading.repeated.add(name)
    reading.doubtful.add(name)
    told = len(reading.damages)
    _read_info(reading, name, dict(info))
    # Whatever else contradicts itself in it follows from that.
    del reading.damages[told:]


def _read_info(reading: LenientReading, name: str, info: object) -> None:
    where = f"wrong about `{name}`"
    reading.infos[name] = info if isinstance(info, dict) else {}
    try:
        fields = reading.infos[name] = read_info(info, where)
    except HeaderError as error:
        reading.report(error.message, name)
        reading.lost = True
        return
    extent = _read_extent(reading, name, fields["data_offsets"], where)
    spec = _read_spec(reading, name, fields, extent, where)
    if spec is None:
        return
    reading.specs[name] = spec
    bits = spec.size * spec.dtype.bits
    if extent is not None and bits != 8 * (extent[1] - extent[0]):
        need = bits / 8 if bits % 8 else bits // 8
        facts = {"dtype": spec.dtype.name, "shape": spec.shape, "need": need, "have": extent[1] - extent[0]}
        reading.damages.append(Damage("size-mismatch", (name,), facts))
        reading.needs[name] = -(-bits // 8)
        reading.doubtful.add(name)


def _read_extent(reading: LenientReading, name: str, offsets: object, where: str) -> tuple[int, int] | None:
    try:
        extent = check_offsets(offsets, where)
    except HeaderError as error:
        reading.report(error.message, name)
        reading.lost = True
        return None
    reading.ranges.add((*extent, name))
    return extent


def _read_spec(
    reading: LenientReading, name: str, info: Mapping[str, Any], extent: tuple[int, int] | None, where: str
) -> LeafSpec | None:
    shape = None
    try:
        shape = check_shape(info["shape"], where)
    except HeaderError as error:
        reading.report(error.message, name)
        reading.doubtful.add(name)
    dtype = info["dtype"]
    if isinstance(dtype, str) and dtype not in DTYPES:
        facts = {"name": dtype, "nbytes": None if extent is None else extent[1] - extent[0]}
        reading.damages.append(Damage("unknown-dtype", (name,), facts))
        reading.doubtful.add(name)
        return None
    try:
        dtype = check_dtype(dtype, where)
    except HeaderError as error:
        reading.report(error.message, name)
        reading.doubtful.add(name)
        return None
    return None if shape is None else LeafSpec(shape, DTYPES[dtype])


def _check_cover(reading: LenientReading, have: int) -> None:
    """Looks for holes, overlaps, missing and trailing bytes that follow from no other damage."""
    reach, holder = 0, ""
    cut: dict[str, int] = {}
    for begin, end, name in sorted(reading.ranges):
        doubtful = name in reading.doubtful or holder in reading.doubtful
        if reach < begin and reach < have and not doubtful and not reading.lost:
            named = (holder, name) if holder else (name,)
            reading.damages.append(Damage("hole", named, {"start": reach, "stop": min(begin, have)}))
        elif begin < reach and not doubtful:
            reading.damages.append(Damage("overlap", (holder, name), {"start": begin, "stop": min(end, reach)}))
        need = min(end, begin + reading.needs[name]) if name in reading.needs else end
        if need > have and name not in reading.repeated:
            cut[name] = need
        if end >= reach:
            reach, holder = end, name
    if cut:
        facts: dict[str, Any] = {"part": "data", "need": max(cut.values()), "have": have}
        reading.damages.append(Damage("truncated", tuple(cut), facts))
    elif reach < have and holder not in reading.doubtful and not reading.lost:
        reading.damages.append(Damage("trailing", (holder,) if holder else (), {"count": have - reach}))
