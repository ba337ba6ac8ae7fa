"""One of several processes that verify together: started by test_verify_processes.py."""

from __future__ import annotations

import sys

from tiecli.errors import ChunkError
from tiecli.verification.processes import Processes, join_processes
from tiecli.verification.verdicts import Judgement


def work(processes: Processes, what: str) -> object:
    """Does what the test wants to see done."""
    if what == "map":
        return [
            judgement.reason
            for judgement in processes.map(range(5), lambda item: Judgement("PASS", f"{item} by {processes.rank}"))
        ]
    if what == "once":
        return processes.once(lambda: f"by {processes.rank}" + "!" * 100_000)[:4]
    if what == "error":
        return processes.map([0, 1], check)
    raise AssertionError(what)


def check(item: int) -> int:
    """Fails at the second item, which is the other process's."""
    if item:
        raise ChunkError("`w` does not decode")
    return item


if __name__ == "__main__":
    address, count, rank, what = sys.argv[1:]
    with join_processes(address, int(count), int(rank)) as joined:
        try:
            print(work(joined, what))
        except ChunkError as error:
            print(f"error: {error.message}")
