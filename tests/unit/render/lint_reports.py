"""Lint reports made by hand, for the tests of every format."""

from __future__ import annotations

from tiecli.linting.report import AppliedFix, LintFailure, LintReport, ReportedFinding, Unchecked
from tiecli.linting.rule import Fix

RUN7, RUN8 = "checkpoints/run7", "checkpoints/run8"
DRIFTED = ReportedFinding(
    RUN7,
    f"{RUN7}/model.safetensors",
    "TIE003",
    "drifted-tie",
    "error",
    "`lm_head.weight` and `model.embed_tokens.weight` are declared tied but differ in 7 of 256 elements.",
    ("lm_head.weight", "model.embed_tokens.weight"),
    "00112233445566aa",
    hint="Choose a side with `tiecli tie --keep`.",
)
SIZE = ReportedFinding(
    RUN8,
    f"{RUN8}/model.safetensors.index.json",
    "IDX005",
    "wrong-total-size",
    "warning",
    "total_size is 656, tensors sum to 400.",
    (),
    "00112233445566bb",
    Fix("set `total_size` to 400", (), safe=True),
)
TAG = ReportedFinding(
    RUN8,
    f"{RUN8}/model-00001-of-00001.safetensors",
    "STF011",
    "format-tag-missing",
    "info",
    "`__metadata__` has no `format`.",
    (),
    "00112233445566cc",
    Fix("set `format` to `pt`", (), safe=False),
)
UNCHECKED = (
    Unchecked("NUM001", "needs --level data", (RUN7, RUN8)),
    Unchecked("NUM002", "needs --level data", (RUN7, RUN8)),
    Unchecked("CFG001", "needs config.json", (RUN7,)),
)
FAILURES = (
    LintFailure(RUN7, "KEY001", "KeyError: 'model'"),
    LintFailure("nowhere", "", "`nowhere` does not exist", "Check the path."),
)
FOUND = LintReport((RUN7, RUN8), (DRIFTED, SIZE, TAG), UNCHECKED)
"""Something of every severity, and rules that did not run."""
BROKEN = LintReport((RUN7, RUN8), (DRIFTED,), UNCHECKED, FAILURES, suppressed=3, stale=1)
"""A rule that failed, a path that is none, and a baseline."""
CLEAN = LintReport((RUN7,), (), (Unchecked("NUM001", "needs --level data", (RUN7,)),))
"""Nothing found, by the rules that ran."""
EMPTY = LintReport((), (), (), FAILURES[1:])
"""Nothing looked at."""
MENDED = LintReport(
    (RUN8,),
    (),
    fixes=(AppliedFix(RUN8, "IDX005", "set `total_size` to 400", ("total_size = 400",)),),
    notices=("not fixed: checkpoints/run8: STF011: the file is open elsewhere",),
)
"""Something mended, something not."""
