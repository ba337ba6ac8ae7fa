"""An index in any state is surveyed: what is wrong is listed exactly when the strict reading refuses it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from tiecli.checkpoints.safetensors.shardindex import parse_index, stays_inside
from tiecli.checkpoints.survey.indexes import IndexSurvey, survey_index
from tiecli.errors import IndexFileError

NAME = "model.safetensors.index.json"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
files = st.sampled_from(
    ["a.safetensors", "b/c.safetensors", "../a", "/a", "C:a", "a\\b", "a\0", "./a", "a//b", "", "."]
)
rows = st.dictionaries(st.text(st.characters(), max_size=3), files | anything, max_size=4)
documents = st.fixed_dictionaries({}, optional={"weight_map": rows | anything, "metadata": anything, "x": anything})


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Indexes that are right, wrong in their parts, or spoilt at a few places."""
    text = json.dumps(draw(documents | anything), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        # The same member once more; the outermost brace belongs to an object in most cases.
        text = text.replace(b"{", draw(st.sampled_from([b'{"weight_map":{},', b'{"a":1,"a":"b",'])), 1)
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from([b"", b'"', b"{", b"[", b",", b"\\", b"\xef\xbb\xbf", b"\\ud800"]))
        text = text[:start] + new + text[start + draw(st.integers(0, 3)) :]
    return text


def survey(raw: bytes) -> IndexSurvey:
    """Writes an index and surveys it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, NAME)
        path.write_bytes(raw)
        return survey_index(path, NAME)


@given(texts() | st.binary(max_size=20))
@example(b"[" * 100_000)
@example(b'{"weight_map":{"a":' + b"9" * 5_000 + b"}}")
@example(b'\xef\xbb\xbf{"weight_map":{"a":"a.safetensors"}}')
@example(b'{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}')
@example(b'{"weight_map":{"\\ud800":"a.safetensors"}}')
@example(b'{"weight_map":{"a":"a.safetensors"},"metadata":[1]}')
def test_something_is_listed_exactly_when_the_strict_reading_refuses(raw: bytes) -> None:
    """Neither reads more wrong into an index than the other; both read the same rows out of a sound one."""
    told = survey(raw)

    try:
        strict = parse_index(raw, NAME)
    except IndexFileError:
        assert told.problems or told.escapes
    else:
        assert not told.problems
        assert not told.escapes
        assert dict(told.weight_map) == dict(strict.weight_map)
        assert told.document == strict.document


@given(texts())
def test_rows_name_files(raw: bytes) -> None:
    """Whatever else is wrong, a row is a pair of texts, and every file is inside or told to be outside."""
    told = survey(raw)

    for leaf, shard in told.weight_map.items():
        assert isinstance(leaf, str)
        assert isinstance(shard, str)
        assert stays_inside(shard) != (shard in told.escapes)
    assert all(problem and problem[0].islower() for problem in told.problems)
    assert max(map(len, told.problems), default=0) < 200


@given(rows)
def test_rows_that_are_sound_survive_those_that_are_not(members: dict[str, object]) -> None:
    """Every row that names a file is read, whatever stands beside it."""
    raw = json.dumps({"weight_map": members}).encode()

    assert dict(survey(raw).weight_map) == {leaf: file for leaf, file in members.items() if isinstance(file, str)}
