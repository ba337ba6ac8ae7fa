"""Law: whatever stock Orbax saved, it restores the same from what `tie` and `untie` make of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiecli
from tests.peer.orbax_restores import Attempt, Restorer, Saving
from tiecli.plan import Mode
from tiecli.transforms import Transform

Array = NDArray[np.generic]

ATTEMPTS = (Attempt("pytree", "found"), Attempt("standard", "numpy"), Attempt("v1", "sharded"))
DTYPES = (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.bool_, np.int8, np.float32, np.complex64, np.float64)


class Drawn(NamedTuple):
    """A tree in which some leaves follow from another, and how it is saved and tied.

    Attributes:
        tree: The leaf `source`, and others.
        axes: Along which `turned` is `source`.
        start: How many rows of `source` are `start`; None where there is no such leaf.
        layout: How Orbax saves it.
        link: Whether data files are linked.
    """

    tree: dict[str, Any]
    axes: tuple[int, ...]
    start: int | None
    layout: dict[str, Any]
    link: bool

    def requests(self, *, views: bool) -> tuple[tiecli.TieRequest, ...]:
        """The ties that hold; those alone that are views of the same bytes, if so wanted."""
        turn = f"transpose({', '.join(map(str, self.axes))})" if len(self.axes) > 1 else "same"
        ties = [("turned", turn), ("list[1].copy", "same")]
        if self.start is not None and not views:
            ties.append(("start", f"[:{self.start}]"))
        return tuple(tiecli.TieRequest("source", dst, Transform.parse(text)) for dst, text in ties)


def list_omitted(report: tiecli.ApplyReport) -> set[str]:
    """Lists the aliases that leave the checkpoint."""
    return {tie.alias for tie in report.ties if tie.mode == "omit"}


def fill(seed: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """Makes an array of any bits that its dtype can have."""
    dice = np.random.default_rng(seed)
    if dtype is np.bool_:
        return dice.integers(0, 2, shape).astype(np.bool_)
    raw = dice.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
    array: Array = raw.view(dtype).reshape(shape)
    return array


@st.composite
def trees(draw: st.DrawFn) -> Drawn:
    """Draws a tree."""
    shape = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 4, 8, 12)), max_size=4)))
    axes = tuple(draw(st.permutations(range(len(shape)))))
    source = fill(draw(st.integers(0, 99)), shape, draw(st.sampled_from(DTYPES)))
    tree: dict[str, Any] = {
        "source": source,
        "turned": source.transpose(axes).copy(),
        "list": [{"other": fill(7, (5, 3), np.float32)}, {"copy": source}, None],
    }
    start = shape[0] // 2 if shape and shape[0] > 1 else None
    if start is not None:
        tree["start"] = source[:start].copy()
    layout: dict[str, Any] = {
        name: draw(st.booleans()) for name in ("use_ocdbt", "use_zarr3", "use_compression", "spread")
    }
    layout["chunk_byte_size"] = draw(st.sampled_from((None, 64, 256)))
    return Drawn(tree, axes, start, layout, draw(st.booleans()))


@pytest.mark.parametrize("mode", ["omit", "alias", None])
@settings(max_examples=12, deadline=None)
@given(drawn=trees())
def test_values_stay_where_they_were(drawn: Drawn, mode: Mode | None, restorer: Restorer) -> None:
    """What is not omitted restores as before, and after `untie` everything does."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        part = restorer.save(Saving(here / "saved", drawn.tree, **drawn.layout))
        before = {attempt: restorer.restore(part, attempt) for attempt in ATTEMPTS}
        target = tiecli.Target(here / "tied", kept_files="hardlink" if drawn.link else "copy", sync=False)
        requests = drawn.requests(views=mode == "alias")
        if mode == "alias" and not drawn.layout["use_zarr3"]:
            # Zarr 2 knows two orders of the elements; what would need a third is refused, so it is not asked for.
            shown = tiecli.tie(part.path, requests)
            requests = tuple(request for request in requests if request.dst not in list_omitted(shown))
        report = tiecli.tie(part.path, requests, target, mode=mode)
        omitted = list_omitted(report)
        assert len(omitted) == {"omit": len(report.ties), "alias": 0}.get(mode or "", len(omitted))
        assert mode == "omit" or "list[1].copy" not in omitted
        assert mode == "omit" or not drawn.layout["use_zarr3"] or "turned" not in omitted

        tied = part._replace(root=here / "tied", path=here / "tied")
        for attempt in ATTEMPTS:
            after = {path: leaf for path, leaf in restorer.restore(tied, attempt).items() if leaf.dtype != "None"}
            expected = {path: leaf for path, leaf in before[attempt].items() if leaf.dtype != "None"}
            assert after == {path: leaf for path, leaf in expected.items() if path not in omitted}

        tiecli.untie(tied.path, tiecli.Target(here / "back", sync=False))
        back = part._replace(root=here / "back", path=here / "back")
        assert {attempt: restorer.restore(back, attempt) for attempt in ATTEMPTS} == before
