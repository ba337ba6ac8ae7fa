"""`tiecli/verification/adjoints.py`: the dot test of a transform, on leaves of any size."""

from __future__ import annotations

from typing import Any

import pytest

from tiecli.errors import TransformMismatchError
from tiecli.leaves import DTYPES, LeafSpec
from tiecli.transforms import Transform
from tiecli.verification import adjoints
from tiecli.verification.adjoints import check_adjoint

pytest.importorskip("jax", reason="jax comes with the extra `verify`")


def spec(*shape: int, dtype: str = "BF16") -> LeafSpec:
    """Describes a leaf."""
    return LeafSpec(shape, DTYPES[dtype])


RIGHT = [
    ("same", (spec(32000, 1792),)),
    ("transpose | scale(0.3) | neg", (spec(32000, 1792),)),
    ("pad(0,0,256)", (spec(256000, 4096),)),
    ("[100:30000, ::-7]", (spec(32000, 1792),)),
    ("[7]", (spec(96, 4096, 4096),)),
    ("'(h d) m -> d m h', h=8", (spec(4096, 4096),)),
    ("concat(0) | transpose", (spec(4096, 4096), spec(1024, 4096))),
    ("stack(1) | flip(0) | reshape(-1)", (spec(10, 4), spec(10, 4))),
    ("repeat(1, 3) | cast(f32)", (spec(1000, 1000),)),
    ("conj | transpose", (spec(1000, 400, dtype="C64"),)),
    ("cast(c64) | conj", (spec(10, 4, dtype="F32"),)),
    ("cast(bf16) | cast(f8_e4m3)", (spec(10, dtype="F32"),)),
    ("same", (spec(),)),
    ("reshape(8192,8192) | transpose", (spec(67108864),)),
    ("concat(0) | reshape(8,1024,8192)", (spec(4096, 8192), spec(4096, 8192))),
]


@pytest.mark.parametrize(("transform", "sources"), RIGHT, ids=[text for text, _ in RIGHT])
def test_every_step_and_its_adjoint_agree(transform: str, sources: tuple[LeafSpec, ...]) -> None:
    """However large the leaf is, the test is small."""
    assert check_adjoint(Transform.parse(transform), sources).verdict == "PASS"


@pytest.mark.parametrize("transform", ["scale(0.3)", "neg", "[1:]", "transpose", "repeat(0, 2)", "flip(1)"])
def test_a_wrong_adjoint_is_found(transform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both products are shown."""
    true = adjoints.adjoint

    def wrong(transform: Transform, cotangent: Any, sources: Any, xp: Any) -> tuple[Any, ...]:
        """Is off by one part in a billion at one place."""
        (part,) = true(transform, cotangent, sources, xp)
        part = part.copy()
        part[2, 2] *= 1 + 1e-9
        return (part,)

    monkeypatch.setattr(adjoints, "adjoint", wrong)

    found = check_adjoint(Transform.parse(transform), [spec(40, 40)])

    assert found.verdict == "FAIL"
    assert found.reason.startswith(f"`{Transform.parse(transform)}` and its adjoint disagree: <T x, y> is ")


def test_integers_have_no_adjoint() -> None:
    """Wherever on the way they are."""
    assert check_adjoint(Transform.parse("transpose"), [spec(4, 4, dtype="I32")]).verdict == "NOT APPLICABLE"
    assert check_adjoint(Transform.parse("cast(i8) | cast(f32)"), [spec(4, 4)]).verdict == "NOT APPLICABLE"


def test_a_transform_that_does_not_fit_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(TransformMismatchError):
        check_adjoint(Transform.parse("transpose(2,1,0)"), [spec(4, 4)])
