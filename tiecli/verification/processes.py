"""Processes: several of them verify one checkpoint together, each its share, and all know the whole.

What one process finds the others get as bytes, in the order of the processes, so that sums
and verdicts come out the same however many there are. An error of one is raised by all:
otherwise the others would wait for it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from tiecli.errors import ProcessError, TiecliError, UsageError
from tiecli.verification.devices import import_jax
from tiecli.verification.wire import from_wire, to_wire

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of the processes this is.

    Attributes:
        rank: Its number, from 0.
        count: How many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that speaks for all."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Gives this process's share of some work; every item is in the share of one.

        Example:
            >>> Processes(1, 3).share("abcdefg")
            'be'
        """
        return items[self.rank :: self.count]

    def map(self, items: Sequence[Item], work: Callable[[Item], Found]) -> tuple[Found, ...]:
        """Deals work out, and gives what all of it found, in the order of the items.

        Args:
            items: What is to be worked on; the same in every process.
            work: Takes one of them; what it gives goes to the other processes.

        Raises:
            TiecliError: Work raised it, here or elsewhere.
            ProcessError: Another process failed otherwise.
        """
        shares = self.exchange(lambda: [work(item) for item in self.share(items)])
        return tuple(shares[at % self.count][at // self.count] for at in range(len(items)))

    def once(self, work: Callable[[], Found]) -> Found:
        """Has the first process do some work, and gives every process what came of it.

        Raises:
            TiecliError: The work raised it.
            ProcessError: The first process failed otherwise.
        """
        found: Found = self.exchange(lambda: work() if self.is_first else None)[0]  # type: ignore[assignment]  # the first's
        return found

    def exchange(self, work: Callable[[], Found]) -> list[Found]:
        """Does some work in every process, and gives what each of them found, in their order.

        Raises:
            TiecliError: Work raised it, here or elsewhere.
            ProcessError: Another process failed otherwise.
        """
        if self.count == 1:
            return [work()]
        try:
            own: object = work()
        except Exception as error:
            self._gather(to_wire(_as_error(error, self.rank)))
            raise
        found = [from_wire(raw) for raw in self._gather(to_wire(own))]
        for result in found:
            if isinstance(result, TiecliError):
                raise result
        return found

    def _gather(self, own: bytes) -> list[bytes]:
        """Gives every process what each of them gives."""
        import numpy as np
        from jax.experimental.multihost_utils import process_allgather

        lengths = np.asarray(process_allgather(np.array([len(own)], np.uint32))).reshape(-1)
        # All have to be of one length.
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[: len(own)] = np.frombuffer(own, np.uint8)
        rows = np.asarray(process_allgather(padded)).reshape(self.count, -1)
        return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]


ALONE = Processes()
"""One process that needs no other."""


def _as_error(error: Exception, rank: int) -> TiecliError:
    if isinstance(error, TiecliError):
        return error
    return ProcessError(f"process {rank} failed: {type(error).__name__}")


@contextmanager
def join_processes(
    coordinator: str | None = None, count: int | None = None, rank: int | None = None, *, patience: float = 300.0
) -> Iterator[Processes]:
    """Joins the processes that verify together, and leaves them at the end.

    To be called before jax computes anything.

    Args:
        coordinator: `host:port` of the first process; None for one process alone.
        count: How many processes there are.
        rank: Which one this is, from 0.
        patience: How many seconds to wait for the first process.

    Raises:
        UsageError: The three do not go together.
        ProcessError: The first process is not to be found.
    """
    if coordinator is None and count is None and rank is None:
        yield ALONE
        return
    if coordinator is None or count is None or rank is None:
        raise UsageError(
            "several processes need `--coordinator`, `--num-processes` and `--process-id`",
            "Give each process all three, for example --coordinator host0:1234 --num-processes 2 --process-id 0.",
        )
    if not 0 <= rank < count:
        raise UsageError(f"`--process-id` is {rank}, expected 0 to {count - 1}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"`--coordinator` is `{coordinator}`, expected HOST:PORT")
    jax = import_jax()
    # What lets processors without an accelerator add up.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if rank:
        _await_first(host.strip("[]"), int(port), patience)
    jax.distributed.initialize(coordinator, count, rank)
    try:
        joined = Processes(rank, count)
        with _quiet_output():
            joined.exchange(lambda: rank)
        yield joined
    finally:
        jax.distributed.shutdown()


def _await_first(host: str, port: int, patience: float) -> None:
    """Waits until the first process is there: jax would end this one, without a word that a person understands."""
    deadline = time.monotonic() + patience
    while True:
        try:
            with socket.create_connection((host, port), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"no process answers at `{host}:{port}`: {error.strerror or error}",
                    "Start process 0 on that host, with the same --coordinator.",
                ) from error
        time.sleep(0.2)


@contextmanager
def _quiet_output() -> Iterator[None]:
    """Sends what Gloo says when processes meet to the error output: the output is the report's."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # There is no output.
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
