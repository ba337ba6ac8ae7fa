"""Threads: work done two at a time."""

from __future__ import annotations

from threading import Barrier, current_thread

import pytest

from tiecli.detect.threads import run_in_pairs


def test_results_keep_the_order() -> None:
    """Whoever finishes first, results stand where their items stood."""
    assert run_in_pairs(lambda item: item * item, range(100)) == [item * item for item in range(100)]


def test_two_items_are_worked_on_at_once() -> None:
    """Two calls that wait for each other both return, each in its own thread."""
    barrier = Barrier(2, timeout=10)

    def meet(_: int) -> str:
        barrier.wait()
        return current_thread().name

    assert len(set(run_in_pairs(meet, [1, 2]))) == 2


@pytest.mark.parametrize("items", [[0], [0, 1], [1, 0], list(range(50, -1, -1))])
def test_a_failure_reaches_the_caller(items: list[int]) -> None:
    """What one call raises is raised, whichever thread it was in."""
    with pytest.raises(ZeroDivisionError, match="by zero"):
        run_in_pairs(lambda item: 1 // item, items)


def test_nothing_to_do_is_done() -> None:
    """No items, no results."""
    assert run_in_pairs(lambda item: item, []) == []
