"""Plan files: whatever the keys of a leaf are, what is written leads back to that leaf."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies_keypaths import paths, plain_names
from tiecli.keypaths import Key, KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.plan import TieRequest, plan_tie
from tiecli.planfile import parse_plan, plan_to_json
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME

# Such that several leaves are spelled alike.
keys: st.SearchStrategy[Key] = st.one_of(
    st.integers(0, 2),
    st.sampled_from(["0", "a", "b", "a.b", "a[0]", '"a"', '"a', 'b"', "a/b", "*", "[0]", "", "(a, b)"]),
)
trees = st.lists(
    st.one_of(
        st.lists(keys, max_size=3).map(lambda found: KeyPath(tuple(found))), plain_names.map(KeyPath.from_name), paths
    ),
    min_size=2,
    max_size=8,
    unique=True,
)


@given(trees, st.data())
def test_a_plan_names_the_leaves_it_was_made_of(tree: list[KeyPath], data: st.DataObject) -> None:
    """A tie goes to a plan file and comes back as the same tie."""
    canonical, alias = data.draw(st.permutations(tree))[:2]
    specs = dict.fromkeys(tree, LeafSpec((2,), DTYPES["F32"]))
    text = json.dumps(plan_to_json([TieRequest(canonical, alias, SAME)]))

    plan = plan_tie(specs, TieSet(()), parse_plan(text, "ties.json"))

    assert list(plan.ties) == [Tie(alias, (canonical,), SAME)]


@given(trees, st.data())
def test_a_leaf_whose_text_form_is_its_name_is_found_by_it(tree: list[KeyPath], data: st.DataObject) -> None:
    """`layers[0].w` is the leaf of that text form, whatever others are spelled like it."""
    canonical, alias = data.draw(st.permutations(tree))[:2]
    specs = dict.fromkeys(tree, LeafSpec((2,), DTYPES["F32"]))
    if canonical.spelling == str(canonical) and alias.spelling == str(alias):
        plan = plan_tie(specs, TieSet(()), [TieRequest(canonical.spelling, alias.spelling)])

        assert list(plan.ties) == [Tie(alias, (canonical,), SAME)]
