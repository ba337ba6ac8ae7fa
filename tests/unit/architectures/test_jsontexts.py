"""JSON texts change in one member and nowhere else."""

from __future__ import annotations

import json

import pytest

from tiecli.architectures.jsontexts import edit_members, set_member


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"flag": false}', '{"flag": true}'),
        ('{ "flag" :false , "z":[1,2] }', '{ "flag" :true , "z":[1,2] }'),
        ('{\n  "a": {"flag": false},\n  "flag": null\n}\n', '{\n  "a": {"flag": false},\n  "flag": true\n}\n'),
        ('{"a": "\\"flag\\": false", "flag": 0.10}', '{"a": "\\"flag\\": false", "flag": true}'),
    ],
)
def test_a_member_that_is_there_changes_its_value_alone(text: str, expected: str) -> None:
    """Whatever the spacing, only the value's own characters are replaced."""
    assert set_member(text, (), "flag", "true") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", '{"flag": true}'),
        ('{\n  "a": 1,\n  "z": 2\n}\n', '{\n  "a": 1,\n  "flag": true,\n  "z": 2\n}\n'),
        ('{\n  "m": 1,\n  "z": 2\n}\n', '{\n  "flag": true,\n  "m": 1,\n  "z": 2\n}\n'),
        ('{\r\n\t"z":1,\r\n\t"a":2\r\n}', '{\r\n\t"z":1,\r\n\t"a":2,\r\n\t"flag":true\r\n}'),
        ('{"a":1,"b":2}', '{"a":1,"b":2,"flag":true}'),
    ],
)
def test_a_new_member_takes_its_neighbours_spacing_and_order(text: str, expected: str) -> None:
    """A new member stands in order where the others do, else last, and is spaced like them."""
    assert set_member(text, (), "flag", "true") == expected


def test_a_nested_member_is_set_where_it_stands() -> None:
    """The place names the object to change; equal keys elsewhere stay."""
    text = '{"flag": false, "inner": {"flag": false, "x": {}}}'

    assert json.loads(set_member(text, ("inner",), "flag", "true")) == {"flag": False, "inner": {"flag": True, "x": {}}}
    assert set_member(text, ("inner", "x"), "flag", "true") == text.replace("{}", '{"flag": true}')


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{"flag": 1, "flag": 2}', (), "`flag` stands there 2 times"),
        ('{"a": {}, "a": {}}', ("a",), "`a` stands there 2 times"),
        ('{"a": 1}', ("b",), "no `b`"),
        ('{"a": 1}', ("a",), "`a` is no object"),
    ],
)
def test_what_cannot_be_set_is_refused(text: str, place: tuple[str, ...], message: str) -> None:
    """A key that stands twice, or a place that is no object, is an error that says so."""
    with pytest.raises(ValueError, match=message):
        set_member(text, place, "flag", "true")


@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ('{\n  "a": 1,\n  "b": 2\n}\n', {"b": None}, '{\n  "a": 1\n}\n'),
        ('{\n  "a": 1,\n  "b": 2\n}\n', {"a": None}, '{\n  "b": 2\n}\n'),
        ('{"a": 1, "b" : 2 , "d":3}', {"b": None, "c": "4", "x": None}, '{"a": 1, "c": 4, "d":3}'),
        ('{"a": 1, "b": 2}', {"a": None, "b": None}, "{}"),
        ('{ "a": 1 }', {"a": None, "b": "2"}, '{ "b": 2 }'),
        ('{"b": 1, "c": 2}', {"a": "0"}, '{"a": 0, "b": 1, "c": 2}'),
        ("{ }", {"a": None}, "{ }"),
        ('{"a": 1}', {}, '{"a": 1}'),
    ],
)
def test_members_go_and_come_together(text: str, changes: dict[str, str | None], expected: str) -> None:
    """Removed members take their comma along; what stays keeps its spacing, the closing brace included."""
    assert edit_members(text, {(): changes}) == expected


def test_ten_thousand_members_change_in_one_pass() -> None:
    """The rows of a large index are renamed in far less than a second."""
    rows = {f"wrapped.layers.{number:05}.weight": "m.safetensors" for number in range(10_000)}
    text = json.dumps({"weight_map": rows}, indent=2, sort_keys=True)
    changes: dict[str, str | None] = dict.fromkeys(rows)
    changes |= {name.removeprefix("wrapped."): '"m.safetensors"' for name in rows}

    changed = edit_members(text, {("weight_map",): changes})

    assert changed == text.replace("wrapped.", "")


def test_objects_at_many_places_change_in_one_pass() -> None:
    """Ten thousand entries of a tree change, each in an object of its own."""
    entries = {f"('leaf', '{number:05}')": {"value": {"shape": [1], "skip": False}} for number in range(10_000)}
    text = json.dumps({"tree": entries, "other": 1})

    changed = edit_members(text, {("tree", key, "value"): {"shape": "[2]"} for key in entries})

    assert changed == text.replace("[1]", "[2]")


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({("a", "b"): {"x": "1"}}, "no `b`"),
        ({("a",): {"x": "1"}, ("c",): {"x": "1"}}, "`c` is no object"),
        ({("b",): {"x": "1"}, (): {"a": None}}, "no `b`"),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    edits: dict[tuple[str, ...], dict[str, str | None]], message: str
) -> None:
    """Nothing is made up on the way to an object."""
    with pytest.raises(ValueError, match=message):
        edit_members('{"a": {}, "c": []}', edits)
