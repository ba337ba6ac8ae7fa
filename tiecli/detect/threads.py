"""Threads: calling a function on many items, two at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_in_pairs(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Calls a function on every item, two at a time; results keep the order of the items.

    Most of the time goes by in reads, decompression and array arithmetic, during which Python
    lets other threads run. Raises what the first failing call raised.
    """
    results: dict[int, Result] = {}
    failures: list[BaseException] = []
    waiting = iter(enumerate(items))
    turn = Lock()

    def work() -> None:
        """Takes items until none are left or one has failed."""
        while not failures:
            with turn:
                number, item = next(waiting, (None, None))
            if number is None or item is None:
                return
            try:
                results[number] = act(item)
            except BaseException as failure:  # noqa: BLE001  # raised again where the caller waits
                failures.append(failure)

    helper = Thread(target=work, daemon=True)
    if len(items) > 1:
        helper.start()
    work()
    if len(items) > 1:
        helper.join()
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(items))]
