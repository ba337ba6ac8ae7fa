"""`tiecli/render/lint/github.py`: workflow commands within GitHub's limits."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.render.lint_reports import BROKEN, CLEAN, DRIFTED, FAILURES, FOUND, RUN7, SIZE, TAG
from tiecli.linting.report import LintReport
from tiecli.render.lint import render_lint


def test_one_command_a_finding_and_one_that_sums_up() -> None:
    """Each names rule and file; paths and messages are escaped as GitHub reads them back."""
    assert render_lint(FOUND, "github").splitlines() == [
        "::error title=tiecli TIE003 drifted-tie,file=checkpoints/run7/model.safetensors::"
        "`lm_head.weight` and `model.embed_tokens.weight` are declared tied but differ in 7 of 256 elements. "
        "Choose a side with `tiecli tie --keep`.",
        "::warning title=tiecli IDX005 wrong-total-size,file=checkpoints/run8/model.safetensors.index.json::"
        "total_size is 656, tensors sum to 400. Fix: set `total_size` to 400.",
        "::notice title=tiecli STF011 format-tag-missing,file=checkpoints/run8/model-00001-of-00001.safetensors::"
        "`__metadata__` has no `format`. Fix: set `format` to `pt`.",
        "::notice title=tiecli::2 checkpoints, 1 error, 1 warning, 1 info, 1 fixable with --fix, "
        "1 with --unsafe-fixes. "
        "Not checked: 2 rules (needs --level data), 1 rule of 1 checkpoint (needs config.json).",
    ]


def test_failures_come_first_as_errors() -> None:
    """What could not be linted outranks what was found."""
    lines = render_lint(BROKEN, "github").splitlines()

    assert lines[0] == "::error title=tiecli,file=checkpoints/run7::could not run KEY001: KeyError: 'model'."
    assert lines[1] == (
        "::error title=tiecli,file=nowhere::could not be linted: `nowhere` does not exist. Check the path."
    )
    assert lines[2].startswith("::error title=tiecli TIE003")


def test_a_clean_run_still_says_what_was_not_checked() -> None:
    """One notice, so that green is not taken for verified."""
    assert render_lint(CLEAN, "github") == (
        "::notice title=tiecli::1 checkpoint, nothing found. Not checked: 1 rule (needs --level data).\n"
    )


def test_no_more_than_ten_of_a_kind_and_the_rest_is_counted() -> None:
    """The sum is one of the ten notices; failures are among the ten errors."""
    report = LintReport((RUN7,), (TAG,) * 12 + (SIZE,) * 11 + (DRIFTED,) * 10, (), FAILURES)

    lines = render_lint(report, "github").splitlines()

    levels = [line.split(" ")[0] for line in lines]
    assert levels == ["::error"] * 10 + ["::warning"] * 10 + ["::notice"] * 10
    assert lines[-1].endswith(
        " 2 errors and 1 warning and 3 notices not shown here: GitHub shows no more than 10 of a kind."
    )


def test_exactly_ten_are_all_shown() -> None:
    """Nine notices and the sum; nothing is said to be cut."""
    report = LintReport((RUN7,), (DRIFTED,) * 10 + (TAG,) * 9)

    lines = render_lint(report, "github").splitlines()

    assert len(lines) == 20
    assert "not shown" not in lines[-1]


def test_names_cannot_start_a_command_of_their_own() -> None:
    """A line break, a comma, a colon and a percent sign are escaped; control characters are spelled out."""
    hostile = replace(DRIFTED, path="a,b:c%0A\n::error::x", message="`100%\n::add-mask::e\r\x1b\x85` differs.", hint="")

    line = render_lint(LintReport((RUN7,), (hostile,)), "github").splitlines()[0]

    assert line == (
        "::error title=tiecli TIE003 drifted-tie,file=a%2Cb%3Ac%250A%0A%3A%3Aerror%3A%3Ax::"
        r"`100%25%0A::add-mask::e\r\x1b\x85` differs."
    )
