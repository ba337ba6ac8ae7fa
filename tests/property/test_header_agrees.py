"""What the reference reader accepts is accepted with the same meaning, or refused for a stated reason."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from tests.property.strategies_headers import damaged_files, odd_files
from tiecli.checkpoints.safetensors.header import Header, _parse_carefully, parse_header
from tiecli.checkpoints.storedfile import open_stored
from tiecli.errors import TiecliError

# What is refused although the reference reads it: two readers could disagree on it, or it
# could not be written again.
STRICTER = (
    "names the tensor `",
    "holds the key `",
    "half of a surrogate pair",
    "is out of range",
    "digits",
    "its dtype is an object",
    "is nothing but zero bytes",
)


def reference(file: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]] | None:
    """What the reference reader sees, or None if it refuses."""
    try:
        return {name: (it["dtype"], tuple(it["shape"]), bytes(it["data"])) for name, it in deserialize(file)}
    except SafetensorError:
        return None


def ours(file: bytes) -> Header | TiecliError:
    """What tiecli sees, or how it refuses; any other exception is a failure."""
    descriptor, name = tempfile.mkstemp()
    try:
        os.write(descriptor, file)
        stored = open_stored(Path(name), "m", "m")
        stored.close()
    except TiecliError as error:
        return error
    finally:
        os.close(descriptor)
        Path(name).unlink()
    return stored.header


def check_agreement(file: bytes) -> None:
    """Compares the two readers on one file."""
    theirs, found = reference(file), ours(file)
    if isinstance(found, TiecliError):
        assert theirs is None or any(reason in found.message for reason in STRICTER), found.message
        return
    assert theirs is not None
    assert {name: spec.shape for name, spec in found.specs.items()} == {name: it[1] for name, it in theirs.items()}
    for name, info in found.infos.items():
        begin, end = (found.data_start + offset for offset in info["data_offsets"])
        assert file[begin:end] == theirs[name][2]


@given(odd_files())
def test_odd_files_are_read(file: bytes) -> None:
    """Every valid file is accepted by both, with the same leaves and bytes."""
    assert isinstance(ours(file), Header)
    check_agreement(file)


@given(odd_files())
def test_quick_and_careful_reading_agree(file: bytes) -> None:
    """The quick reading sees what the careful one sees, in the same order."""
    raw = file[8 : 8 + int.from_bytes(file[:8], "little")]
    quick, careful = parse_header(raw, "m", None), _parse_carefully(raw, "m")

    assert (quick, list(quick.infos), quick.order) == (careful, list(careful.infos), careful.order)


@settings(max_examples=300)
@given(damaged_files())
def test_damaged_files_are_refused_alike(file: bytes) -> None:
    """A damaged file is refused by both, or accepted by both with the same meaning."""
    check_agreement(file)


@given(st.binary(max_size=64))
def test_rubbish_is_refused(file: bytes) -> None:
    """No bytes at all make the reader fail in any other way than by refusing."""
    check_agreement(file)


@given(
    st.recursive(
        st.none() | st.integers(0, 9) | st.text('a\\" ', max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["a", "__metadata__", "dtype", "shape", "data_offsets"]), inner, max_size=4
            )
        ),
    )
)
def test_any_json_is_refused_or_read(document: object) -> None:
    """Any JSON in place of a header is met without surprise."""
    raw = json.dumps(document).encode()
    check_agreement(len(raw).to_bytes(8, "little") + raw)
