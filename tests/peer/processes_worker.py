"""One of several processes that verify together: started by test_verify_processes.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tiecli.boxes import Box
from tiecli.checkpoints import open_reader
from tiecli.checkpoints.protocol import CheckpointReader
from tiecli.errors import ChunkError
from tiecli.keypaths import KeyPath
from tiecli.ties import Tie, TieSet
from tiecli.transforms import Transform
from tiecli.verification import probe, tiling
from tiecli.verification.devices import choose_device
from tiecli.verification.groups import group_ties
from tiecli.verification.loading import Sources
from tiecli.verification.processes import Processes, join_processes
from tiecli.verification.tiling import TileSize
from tiecli.verification.verdicts import Judgement

SHARDED = Path(__file__).parents[2] / "fixtures" / "orbax" / "two-processes"
EMBED, HEAD = KeyPath.from_name("wte.embedding"), KeyPath.from_name("lm_head.kernel")


class Watched:
    """A checkpoint that remembers which blocks of which leaves were read."""

    def __init__(self, reader: CheckpointReader) -> None:
        self.reader = reader
        self.read: dict[str, list[Box]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    def read_block(self, path: KeyPath, box: Box) -> Any:
        """Reads one block."""
        self.read.setdefault(path.spelling, []).append(box)
        return self.reader.read_block(path, box)


def work(processes: Processes, what: str) -> object:
    """Does what the test wants to see done."""
    if what == "map":
        return [
            judgement.reason
            for judgement in processes.map(range(5), lambda item: Judgement("PASS", f"{item} by {processes.rank}"))
        ]
    if what == "once":
        return processes.once(lambda: f"by {processes.rank}" + "!" * 100_000)[:4]
    if what == "probe":
        return probe_sharded(processes)
    if what == "error":
        return processes.map([0, 1], check)
    raise AssertionError(what)


def probe_sharded(processes: Processes) -> str:
    """Probes a tie of a leaf that is stored in chunks of 8×8, a chunk at a time; tells what was read here."""
    # A tile of this fixture would be the whole leaf; these are its chunks.
    probe.tile_size = lambda *_: TileSize(64, 64)
    tiling._RUN = 8
    tie = Tie(HEAD, (EMBED,), Transform.parse("transpose"))
    with open_reader(SHARDED) as reader:
        watched = Watched(reader)
        (group,) = group_ties(TieSet((tie,)))
        found = probe.probe_group(group, Sources(watched, reader), choose_device("cpu"), processes=processes)[HEAD]
    return json.dumps([found.judgement.verdict, repr(found.measure), watched.read[EMBED.spelling]])


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
