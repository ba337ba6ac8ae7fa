"""`conversion/metadata.py`: JSON values as texts, and back."""

from __future__ import annotations

import pytest

from tiecli.checkpoints.orbax.treerecord import KEY, TreeRecord
from tiecli.conversion import carry_metadata

VALUES: dict[str, object] = {
    "note": "a text",
    "number": "5",
    "lr": 0.1,
    "nested": {"a": [1, None, "ü"]},
    "nothing": None,
    "yes": True,
}


def test_values_become_texts_and_come_back() -> None:
    """Texts stay as they are, anything else becomes its JSON, and which is which is recorded."""
    carried = carry_metadata(VALUES, TreeRecord(), to_texts=True, implied={})

    assert carried.custom == {
        "format": "pt",
        "note": "a text",
        "number": "5",
        "lr": "0.1",
        "nested": '{"a": [1, null, "ü"]}',
        "nothing": "null",
        "yes": "true",
    }
    assert carried.record == TreeRecord(encoded=("lr", "nested", "nothing", "yes"), added=("format",))
    back = carry_metadata(carried.custom, carried.record, to_texts=False, implied={})
    assert back.custom == VALUES
    assert back.record == TreeRecord()


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_a_format_that_was_there_stays(framework: str) -> None:
    """Only the one that was added is taken out again."""
    there = carry_metadata({"format": framework}, TreeRecord(), to_texts=False, implied={})
    assert there.custom == {"format": framework}
    assert carry_metadata(there.custom, there.record, to_texts=True, implied={}) == there


def test_texts_that_others_changed_stay_texts() -> None:
    """What was JSON once and is none now is taken as it is; an added entry that says something else stays."""
    record = TreeRecord(encoded=("lr",), added=("format",))

    carried = carry_metadata({"lr": "about 0.1", "format": "np"}, record, to_texts=False, implied={})

    assert carried.custom == {"lr": "about 0.1", "format": "np"}


def test_what_is_written_anew_is_left_out() -> None:
    """The record itself, and the pairs that the ties of the manifest make; a pair that says otherwise stays."""
    custom: dict[str, object] = {KEY: "{}", "head": "embed", "other": "embed"}

    carried = carry_metadata(custom, TreeRecord(), to_texts=False, implied={"head": "embed", "other": "body"})

    assert carried.custom == {"other": "embed"}
