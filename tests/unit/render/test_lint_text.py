"""`tiecli/render/lint/text.py` and `wording.py`: what a person reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.render.lint_reports import (
    BROKEN,
    CLEAN,
    DRIFTED,
    EMPTY,
    FOUND,
    MENDED,
    RUN7,
    RUN8,
    SIZE,
    UNCHECKED,
)
from tiecli.linting.registry import find_rule
from tiecli.linting.report import LintReport, Unchecked
from tiecli.render.lint import render_lint
from tiecli.render.lint.wording import sum_up


def test_each_finding_says_where_what_and_what_to_do() -> None:
    """The path first, then the message; fix and hint each on a line; the sum last."""
    assert render_lint(FOUND, "text").splitlines() == [
        "checkpoints/run7/model.safetensors: error TIE003 drifted-tie",
        "  `lm_head.weight` and `model.embed_tokens.weight` are declared tied but differ in 7 of 256 elements.",
        "  hint: Choose a side with `tiecli tie --keep`.",
        "checkpoints/run8/model.safetensors.index.json: warning IDX005 wrong-total-size [fixable]",
        "  total_size is 656, tensors sum to 400.",
        "  fix: set `total_size` to 400",
        "checkpoints/run8/model-00001-of-00001.safetensors: info STF011 format-tag-missing [unsafe fix]",
        "  `__metadata__` has no `format`.",
        "  fix: set `format` to `pt`",
        "",
        "2 checkpoints, 1 error, 1 warning, 1 info, 1 fixable with --fix, 1 with --unsafe-fixes. "
        "Not checked: 2 rules (needs --level data), 1 rule of 1 checkpoint (needs config.json).",
    ]


def test_what_could_not_be_linted_stands_beside_the_sum() -> None:
    """A rule that failed is told from a path that is none."""
    assert render_lint(BROKEN, "text").splitlines()[3:] == [
        "checkpoints/run7: error: could not run KEY001: KeyError: 'model'",
        "nowhere: error: `nowhere` does not exist",
        "  hint: Check the path.",
        "",
        "2 checkpoints, 1 could not be linted, 1 rule failed, 1 error, 3 held back by the baseline, "
        "1 stale entry in the baseline. "
        "Not checked: 2 rules (needs --level data), 1 rule of 1 checkpoint (needs config.json).",
    ]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (CLEAN, "1 checkpoint, nothing found. Not checked: 1 rule (needs --level data)."),
        (EMPTY, "0 checkpoints, 1 could not be linted."),
        (MENDED, "1 checkpoint, nothing found, 1 fixed."),
        (replace(MENDED, dry=True), "1 checkpoint, nothing found, 1 would be fixed."),
        (replace(CLEAN, not_checked=()), "1 checkpoint, nothing found."),
        (replace(MENDED, fixes=(), suppressed=2), "1 checkpoint, nothing new found, 2 held back by the baseline."),
        (LintReport((), ()), "0 checkpoints."),
        (LintReport((RUN7,), (SIZE,) * 1200), "1 checkpoint, 1,200 warnings, 1,200 fixable with --fix."),
    ],
    ids=[
        "green but not checked",
        "nothing looked at",
        "mended",
        "would be mended",
        "clean",
        "nothing new",
        "nothing to look at",
        "many",
    ],
)
def test_the_sum_takes_nothing_for_verified_that_is_not(report: LintReport, expected: str) -> None:
    """That nothing was found is said only where something was looked at, and beside what was not."""
    assert sum_up(report) == expected
    assert render_lint(report, "text").splitlines()[-1] == expected


def test_applied_fixes_list_their_edits() -> None:
    """What was done, or would be, line by line."""
    assert render_lint(MENDED, "text").splitlines()[:2] == [
        "checkpoints/run8: fixed IDX005: set `total_size` to 400",
        "  total_size = 400",
    ]
    assert render_lint(replace(MENDED, dry=True), "text").startswith("checkpoints/run8: would fix IDX005")


def test_full_explains_a_rule_once_and_lists_leaves_and_rules_not_run() -> None:
    """The reason why stands at the first finding of a rule; many leaves are counted."""
    many = replace(DRIFTED, leaves=tuple(f"h.{n}" for n in range(1030)))

    lines = render_lint(LintReport((RUN7, RUN8), (many, DRIFTED), UNCHECKED), "full").splitlines()

    why = f"  {find_rule('TIE003').why.splitlines()[0]}"
    assert lines[2] == why
    assert lines.count(why) == 1
    assert [line for line in lines if line.startswith("  - ")] == [
        *(f"  - h.{n}" for n in range(20)),
        "  - and 1,010 more",
        "  - lm_head.weight",
        "  - model.embed_tokens.weight",
    ]
    assert lines[-5:-2] == [
        "not checked NUM001: needs --level data (checkpoints/run7 and 1 more)",
        "not checked NUM002: needs --level data (checkpoints/run7 and 1 more)",
        "not checked CFG001: needs config.json (checkpoints/run7)",
    ]


def test_rules_are_counted_once_however_many_checkpoints_lack_the_same() -> None:
    """Two records of one rule with one reason are one rule that did not run."""
    twice = tuple(Unchecked("NUM001", "needs --level data", (run,)) for run in (RUN7, RUN8))

    assert sum_up(LintReport((RUN7, RUN8), (), twice)).endswith("Not checked: 1 rule (needs --level data).")


def test_control_characters_never_reach_a_terminal() -> None:
    """Neither from a path nor from a message."""
    hostile = replace(DRIFTED, path="a\x1b[2J\nb", message="`x\x9b\x07` differs.")

    assert render_lint(LintReport((RUN7,), (hostile,)), "text").splitlines()[:2] == [
        r"a\x1b[2J\nb: error TIE003 drifted-tie",
        r"  `x\x9b\x07` differs.",
    ]
