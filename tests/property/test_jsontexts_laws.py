"""Setting a member gives the same document with that member, and the same text around it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tiecli.architectures.jsontexts import edit_members, set_member


def objects(members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose keys often are, or look like, the one that is set."""
    return st.dictionaries(st.sampled_from(["flag", "inner", "a", "z", '"flag": 1', "{", "\\"]) | st.text(), members)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=8)
documents = st.fixed_dictionaries({"inner": objects(values)}, optional={"flag": scalars, "z": values})
layouts = st.sampled_from([{}, {"indent": 2}, {"indent": "\t", "sort_keys": True}, {"separators": (" ,  ", " :\n")}])


@settings(max_examples=50)
@given(document=documents, layout=layouts, nested=st.booleans())
def test_only_the_member_changes(document: dict[str, Any], layout: dict[str, Any], nested: bool) -> None:
    """The document equals the old one but for the member, at whichever depth, in every layout."""
    text = json.dumps(document, **layout)

    changed = set_member(text, ("inner",) if nested else (), "flag", "true")

    expected = json.loads(text)
    (expected["inner"] if nested else expected)["flag"] = True
    assert json.loads(changed) == expected


@settings(max_examples=50)
@given(document=documents, layout=layouts)
def test_the_text_around_the_member_stays(document: dict[str, Any], layout: dict[str, Any]) -> None:
    """A replaced value can be put back, and a new member is one stretch of text in the old text."""
    text = json.dumps(document, **layout)

    changed = set_member(text, (), "flag", "true")

    if "flag" in document:
        assert set_member(changed, (), "flag", json.dumps(document["flag"], **layout)) == text
    else:
        grown = len(changed) - len(text)
        assert text in {changed[:start] + changed[start + grown :] for start in range(len(text) + 1)}


@settings(max_examples=50)
@given(document=documents, layout=layouts)
def test_setting_twice_is_setting_once(document: dict[str, Any], layout: dict[str, Any]) -> None:
    """A member that has the value already leaves the text as it is."""
    once = set_member(json.dumps(document, **layout), (), "flag", "true")

    assert set_member(once, (), "flag", "true") == once


@settings(max_examples=50)
@given(document=documents, layout=layouts, changes=st.dictionaries(st.sampled_from(["flag", "a", "z", "new"]), scalars))
def test_many_members_change_at_once(document: dict[str, Any], layout: dict[str, Any], changes: dict[str, Any]) -> None:
    """Members set or removed together give the document that they give one by one."""
    text = json.dumps(document, **layout)
    edits = {key: None if value is None else json.dumps(value) for key, value in changes.items()}

    changed = edit_members(text, {(): edits})

    expected = {key: value for key, value in document.items() if edits.get(key, "") is not None}
    expected |= {key: value for key, value in changes.items() if value is not None}
    assert json.loads(changed) == json.loads(json.dumps(expected))
