"""`tiecli/verification/processes.py` and `wire.py`: shares, and what goes from one process to another."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.render.verdict_reports import make_full_report
from tiecli.errors import ChunkError, TiecliError, UsageError
from tiecli.verification.processes import Processes, join_processes
from tiecli.verification.verdicts import GradientMeasure, Judgement
from tiecli.verification.wire import from_wire, to_wire


def test_everything_in_a_report_survives_the_wire() -> None:
    """Ties with pictures, losses and trajectories, bit for bit."""
    report = make_full_report()

    assert from_wire(to_wire((report.ties, report.losses, report.trajectory, report.others))) == (
        report.ties, report.losses, report.trajectory, report.others
    )  # fmt: skip


@given(st.floats())
def test_floats_keep_their_bits(value: float) -> None:
    """Negative zero, infinities and subnormals too; a NaN stays one."""
    found = from_wire(to_wire(GradientMeasure(value, 0.0, 1.0, 2.0))).error

    assert math.isnan(found) if math.isnan(value) else found.hex() == value.hex()


def test_errors_survive_the_wire() -> None:
    """Their class, their message and their hints."""
    error = from_wire(to_wire(ChunkError("`w` does not decode", "Restore it.")))

    assert isinstance(error, ChunkError)
    assert (error.message, error.hints) == ("`w` does not decode", ("Restore it.",))


@given(st.integers(1, 9), st.lists(st.integers()))
def test_every_item_is_in_one_share(count: int, items: list[int]) -> None:
    """And shares differ by one item at most."""
    shares = [Processes(rank, count).share(items) for rank in range(count)]

    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_works_alone() -> None:
    """It needs no jax, and nothing goes over a wire."""
    alone = Processes()

    assert alone.is_first
    assert alone.map([1, 2, 3], lambda item: item * 2) == (2, 4, 6)
    assert alone.once(lambda: object) is object
    with join_processes() as joined:
        assert joined == alone


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        (("host:1", None, None), "several processes need"),
        ((None, 2, 0), "several processes need"),
        (("host:1", 2, 2), "`--process-id` is 2, expected 0 to 1"),
        (("host:1", 0, 0), "`--process-id` is 0, expected 0 to -1"),
        (("host", 2, 0), "expected HOST:PORT"),
        (("host:one", 2, 0), "expected HOST:PORT"),
        ((":1", 2, 0), "expected HOST:PORT"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    given_options: tuple[str | None, int | None, int | None], message: str
) -> None:
    """Before jax is imported."""
    with pytest.raises(UsageError, match=message), join_processes(*given_options):
        pass


class Together:
    """Two processes of which the other one's results are known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, other: object) -> None:
        self.sent: list[object] = []

        def gather(_: Processes, own: bytes) -> Iterator[bytes]:
            self.sent.append(from_wire(own))
            return iter([own, to_wire(other)])

        monkeypatch.setattr(Processes, "_gather", gather)


def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever worked on them."""
    Together(monkeypatch, [Judgement("PASS", "b"), Judgement("PASS", "d")])

    found = Processes(0, 2).map("abc", lambda item: Judgement("PASS", item))
    assert [judgement.reason for judgement in found] == ["a", "b", "c"]


def test_an_error_elsewhere_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one process would go on with half of the results."""
    Together(monkeypatch, ChunkError("`w` does not decode"))

    with pytest.raises(ChunkError, match="`w` does not decode"):
        Processes(0, 2).map([1, 2], lambda item: item)


@pytest.mark.parametrize(
    ("error", "told"), [(ChunkError("damaged"), "damaged"), (ZeroDivisionError(), "process 0 failed")]
)
def test_an_error_here_is_told_to_the_others(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    """So that they do not wait, even where it is a bug."""
    together = Together(monkeypatch, [])

    def fail(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        Processes(0, 2).map([1], fail)
    (sent,) = together.sent
    assert isinstance(sent, TiecliError)
    assert told in sent.message


def test_alone_no_jax_is_imported() -> None:
    """Verifying bytes alone must not wait for it."""
    code = (
        "import sys; from tiecli.verification.processes import join_processes\n"
        "with join_processes() as processes: processes.map([1], str)\n"
        "sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
