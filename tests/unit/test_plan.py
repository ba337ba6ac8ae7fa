"""`tiecli/plan.py`: what happens to each leaf, decided from specs alone."""

from __future__ import annotations

import pytest

from tiecli.errors import ManifestError, NothingToUntieError, TieConflictError, TransformMismatchError, UsageError
from tiecli.keypaths import KeyPath
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.plan import TieRequest, plan_tie, plan_untie
from tiecli.ties import Tie, TieSet
from tiecli.transforms import SAME, TRANSPOSE

F32, BF16 = DTYPES["F32"], DTYPES["BF16"]
A, B, C, D = (KeyPath.from_name(name) for name in "abcd")
SPECS = {A: LeafSpec((8, 4), F32), B: LeafSpec((8, 4), F32), C: LeafSpec((4, 8), F32), D: LeafSpec((6, 4), BF16)}
NONE = TieSet(())


def test_every_leaf_is_kept_or_dropped() -> None:
    """The plan is a partition of the stored leaves, and its bytes add up."""
    plan = plan_tie(SPECS, NONE, [TieRequest("a", "b"), TieRequest("a", "c", TRANSPOSE)])

    assert set(plan.kept) | {planned.tie.alias for planned in plan.added} == set(SPECS)
    assert set(plan.kept) & {planned.tie.alias for planned in plan.added} == set()
    assert plan.bytes_before - plan.bytes_after == 2 * 8 * 4 * 4
    assert [planned.stated for planned in plan.added] == [False, True]


def test_old_ties_follow_their_canonical_leaf_to_its_new_root() -> None:
    """Where a canonical leaf becomes an alias itself, what followed it follows its root."""
    old = TieSet((Tie(KeyPath.from_name("z"), (B,), TRANSPOSE),))

    plan = plan_tie(SPECS, old, [TieRequest("c", "b", TRANSPOSE)])

    assert [str(tie) for tie in plan.ties] == ["z = c", "b = c | transpose"]


@pytest.mark.parametrize(
    ("request_", "hint"),
    [
        (TieRequest("a", "c"), "--transform 'transpose'"),
        (TieRequest("a", "b", TRANSPOSE), "--transform 'same'"),
        (TieRequest("a", "d"), "--transform '[:6] | cast(bf16)'"),
        (TieRequest("d", "a"), "tiecli find"),
    ],
)
def test_specs_that_do_not_fit_are_refused_with_what_would(request_: TieRequest, hint: str) -> None:
    """Found and expected are said, and a transform that fits the shapes is proposed."""
    with pytest.raises(TransformMismatchError, match=r"under `(same|transpose)` is B?F\d+ .*, but `.` is") as caught:
        plan_tie(SPECS, NONE, [request_])

    assert hint in caught.value.hints[0]


def test_a_cast_or_a_prefix_is_proposed_where_shapes_allow() -> None:
    """The hint names the step that is missing."""
    specs = {A: LeafSpec((8, 4), F32), B: LeafSpec((8, 4), BF16), C: LeafSpec((6, 4), F32)}

    with pytest.raises(TransformMismatchError) as caught:
        plan_tie(specs, NONE, [TieRequest("a", "b")])
    assert "cast(bf16)" in caught.value.hints[0]
    with pytest.raises(TransformMismatchError) as caught:
        plan_tie(specs, NONE, [TieRequest("a", "c")])
    assert "[:6]" in caught.value.hints[0]


def test_contradictions_are_refused() -> None:
    """An alias twice, an alias that is tied already, nothing at all."""
    with pytest.raises(TieConflictError, match="tied twice"):
        plan_tie(SPECS, NONE, [TieRequest("a", "c", TRANSPOSE), TieRequest("b", "c", TRANSPOSE)])
    with pytest.raises(TieConflictError, match="tied already"):
        plan_tie(SPECS, TieSet((Tie(KeyPath.from_name("z"), (A,), SAME),)), [TieRequest("b", "z")])
    with pytest.raises(UsageError, match="no tie was asked for"):
        plan_tie(SPECS, NONE, [])


def test_untie_of_some_leaves_the_others_tied() -> None:
    """A pattern chooses among the aliases."""
    y, z = KeyPath.from_name("y"), KeyPath.from_name("z")
    ties = TieSet((Tie(y, (A,), SAME), Tie(z, (A,), TRANSPOSE)))

    plan = plan_untie(SPECS, ties, "z")

    assert [planned.alias_spec for planned in plan.restored] == [LeafSpec((4, 8), F32)]
    assert [tie.alias for tie in plan.ties] == [y]
    assert plan.bytes_after - plan.bytes_before == 8 * 4 * 4
    with pytest.raises(NothingToUntieError, match="no tie to undo"):
        plan_untie(SPECS, NONE)


def test_untie_keeps_what_was_stored_anew() -> None:
    """An alias that has values of its own again is a leaf like others, but for its tie, which ends."""
    ties = TieSet((Tie(B, (A,), SAME), Tie(C, (A,), TRANSPOSE)))

    plan = plan_untie(SPECS, ties, shared={C}, own={B})

    assert (plan.ties, [planned.tie.alias for planned in plan.restored], plan.kept) == (NONE, [C], (A, B, D))


def test_ties_to_a_leaf_that_is_gone_are_refused() -> None:
    """Somebody renamed or dropped the canonical leaf since: nothing can be worked out from it, nor tied to it."""
    gone = TieSet((Tie(KeyPath.from_name("z"), (KeyPath.from_name("gone"),), SAME),))
    expected = "says that `z` follows from `gone`, but stores no such leaf"

    with pytest.raises(ManifestError, match=expected):
        plan_untie(SPECS, gone)
    with pytest.raises(ManifestError, match=expected):
        plan_tie(SPECS, gone, [TieRequest("a", "b", SAME)])
