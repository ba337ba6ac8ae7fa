"""JSON texts change in one member and nowhere else."""

from __future__ import annotations

import json

import pytest

from tiecli.architectures.jsontexts import set_member


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
