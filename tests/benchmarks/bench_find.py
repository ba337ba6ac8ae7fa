"""`tiecli find` against hashing every byte, which sees exact copies and nothing else.

python tests/benchmarks/bench_find.py [FILE...]

Without a file, the inputs of `generate.py` are made under a temporary directory. A cold run
starts with the file's pages dropped from the page cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import run_in_turn, show_ratios

READ = """
import json, sys
from xxhash import xxh3_128
with open(sys.argv[1], "rb", buffering=0) as file:
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    found, buffer = {}, memoryview(bytearray(1 << 20))
    for name, info in header.items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            file.seek(8 + length + begin)
            digest = xxh3_128()
            while begin < end:
                count = file.readinto(buffer[: end - begin])
                digest.update(buffer[:count])
                begin += count
            found.setdefault(digest.hexdigest(), []).append(name)
print([names for names in found.values() if len(names) > 1])
"""

HASH = """
import json, sys
from xxhash import xxh3_128_hexdigest
import mmap
with open(sys.argv[1], "rb") as file:
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
found = {}
for name, info in header.items():
    if name != "__metadata__":
        begin, end = (8 + length + offset for offset in info["data_offsets"])
        found.setdefault(xxh3_128_hexdigest(view[begin:end]), []).append(name)
print([names for names in found.values() if len(names) > 1])
"""

LIBRARY = "import sys; from tiecli.cli.entry import main; sys.argv[0] = 'tiecli'; sys.exit(main())"


def drop(file: str) -> None:
    """Drops a file's pages from the page cache."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def warm(file: str) -> None:
    """Reads a file, so that all of it is in the page cache."""
    with Path(file).open("rb", buffering=0) as stream:
        while stream.read(1 << 20):
            pass


def main(files: list[str]) -> None:
    """Prints two tables a file, warm and cold."""
    script = Path(sys.executable).with_name("tiecli")
    tiecli = [str(script)] if script.exists() else [sys.executable, "-c", LIBRARY]
    for file in files:
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import numpy": [sys.executable, "-c", "import numpy"],
            "xxh3_128 of every leaf": [sys.executable, "-c", HASH, file],
            "the same, read not mapped": [sys.executable, "-c", READ, file],
            "tiecli find": [*tiecli, "find", file],
        }
        warm(file)
        runs = run_in_turn(commands, lambda _: None, rounds=9, warmups=1)
        show_ratios(
            f"{file}, warm",
            runs,
            "xxh3_128 of every leaf",
            {"tiecli find": "<= 1.1 (20,000 leaves: <= 1.5 s), <= 400 MiB"},
        )
        cold = {name: commands[name] for name in ("xxh3_128 of every leaf", "tiecli find")}
        runs = run_in_turn(cold, lambda _, file=file: drop(file), rounds=3, warmups=0)  # type: ignore[misc]
        show_ratios(f"{file}, cold", runs, "xxh3_128 of every leaf", {"tiecli find": "<= 0.6"})


def generated() -> tuple[Path, list[str]]:
    """Makes the inputs; the caller removes the directory."""
    directory = Path(tempfile.mkdtemp(prefix="bench-find-"))
    files = [str(directory / f"{kind}.safetensors") for kind in ("big", "small")]
    for kind, file in zip(("big", "small"), files, strict=True):
        subprocess.run([sys.executable, str(Path(__file__).with_name("generate.py")), kind, file], check=True)
    return directory, files


if __name__ == "__main__":
    if sys.argv[1:]:
        main(sys.argv[1:])
    else:
        place, made = generated()
        try:
            main(made)
        finally:
            shutil.rmtree(place)
