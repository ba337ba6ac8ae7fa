"""The survey of a file finds fault with exactly those that the strict reader refuses, and never fails itself."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.property.strategies_headers import crowded_files, damaged_files, odd_files
from tests.unit.checkpoints.safetensors.files import put_together
from tiecli.checkpoints.storedfile import open_stored
from tiecli.checkpoints.survey.damages import read_leniently
from tiecli.checkpoints.survey.files import FileSurvey, survey_file
from tiecli.errors import TiecliError

FIELDS = ["a", "b", "__metadata__", "dtype", "shape", "data_offsets", "x"]


def survey(content: bytes) -> tuple[FileSurvey, TiecliError | None]:
    """Surveys bytes as a file, and says whether the strict reader refuses them."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "m")
        path.write_bytes(content)
        try:
            open_stored(path, "m", "m").close()
        except TiecliError as error:
            return survey_file(path, "m"), error
        return survey_file(path, "m"), None


def check(content: bytes) -> None:
    """Checks what must hold of the survey of any file."""
    found, refusal = survey(content)

    assert bool(found.damages) == (refusal is not None), (found.damages, refusal)
    assert (found.header is None) == bool(found.damages)
    assert found.specs.keys() <= found.infos.keys()
    assert found.size == len(content)
    # Whatever the messages are made of can be shown.
    repr(found.infos).encode()
    "".join([*found.infos, *(found.metadata or {})]).encode()
    for damage in found.damages:
        "".join(map(str, (*damage.leaves, *damage.facts.values()))).encode()
        if damage.kind in ("hole", "overlap"):
            assert 0 <= damage.facts["start"] <= damage.facts["stop"]
    if found.legible:
        raw = content[8 : found.data_start]
        lenient = read_leniently(raw, len(content) - found.data_start)
        assert lenient.specs == found.specs
        assert lenient.metadata == found.metadata
        # The lenient reading alone is no stricter than the strict one, and no laxer.
        assert {it.kind for it in lenient.damages} == {it.kind for it in found.damages}


@given(odd_files())
def test_odd_files_have_no_damage(content: bytes) -> None:
    """A file that is valid in an unusual way is sound."""
    found, _ = survey(content)

    assert found.header is not None
    assert found.damages == ()
    check(content)


@settings(max_examples=400)
@given(damaged_files())
def test_damaged_files_have_damage(content: bytes) -> None:
    """What the strict reader refuses has a damage, and nothing else has."""
    check(content)


@settings(max_examples=400)
@given(crowded_files())
@example(put_together('{"a":{"dtype":"U8","shape":[0],"data_offsets":[9,9]}}'))
@example(put_together('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":5}', b"ab"))
def test_crowded_files_have_damage(content: bytes) -> None:
    """Tensors that overlap, lie apart or stand twice are found out, however they are mixed."""
    check(content)


@given(st.binary(max_size=64))
def test_rubbish_has_damage(content: bytes) -> None:
    """No bytes at all make a survey fail."""
    check(content)


@given(
    st.recursive(
        st.none() | st.integers(0, 9) | st.text('a\\" ', max_size=3) | st.just(float("nan")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    )
)
def test_any_json_is_surveyed(document: object) -> None:
    """Any JSON in place of a header is met without surprise."""
    check(put_together(json.dumps(document)))


@given(odd_files(), st.data())
def test_cut_files_are_truncated(content: bytes, data: st.DataObject) -> None:
    """A sound file that was cut short is truncated, whichever part the cut is in, and nothing else."""
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    found, _ = survey(cut)

    assert [it.kind for it in found.damages] == ["truncated"]
    part = "length" if len(cut) < 8 else "header" if not found.legible else "data"
    assert found.damages[0].facts["part"] == part
    assert found.damages[0].facts["have"] < found.damages[0].facts["need"]


@given(odd_files(), st.binary(min_size=1, max_size=9))
def test_lengthened_files_have_trailing_bytes(content: bytes, tail: bytes) -> None:
    """Bytes behind a sound file are trailing, and nothing else."""
    found, _ = survey(content + tail)

    assert [it.kind for it in found.damages] == ["trailing"]
    assert found.damages[0].facts == {"count": len(tail)}
