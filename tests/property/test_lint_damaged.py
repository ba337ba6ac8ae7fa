"""Whatever bytes a file holds: no rule fails on it, and a file that the strict reader refuses is not clean."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.lint.building import write_json
from tests.property.strategies_headers import crowded_files, damaged_files, odd_files
from tests.unit.checkpoints.safetensors.files import put_together
from tiecli.checkpoints.storedfile import open_stored
from tiecli.checkpoints.survey.units import Unit
from tiecli.errors import TiecliError
from tiecli.linting.engine import Outcome, run_rules
from tiecli.linting.registry import list_rules
from tiecli.linting.subject import Subject

INDEX = "model.safetensors.index.json"
FILES = ("a.safetensors", "b.safetensors")
# What takes the bytes of a file apart, or says that there are none.
CONTAINER = frozenset(f"STF{number:03}" for number in range(1, 11))


def lint(directory: Path, files: tuple[str, ...], index: str | None = None) -> Outcome:
    """Runs all rules, the opt-in ones among them, as far as headers go."""
    subject = Subject(Unit(directory, "safetensors", directory, files, index))
    try:
        return run_rules(subject, list_rules(), data=False)
    finally:
        subject.close()


def is_refused(path: Path) -> bool:
    """Whether the strict reader refuses a file."""
    try:
        open_stored(path, "m", "m").close()
    except TiecliError:
        return True
    return False


@settings(max_examples=200, deadline=None)
@given(crowded_files() | damaged_files() | odd_files() | st.binary(max_size=40))
@example(put_together('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"__metadata__":{"b":"a","c":[1]}}'))
def test_one_file_of_any_bytes(content: bytes) -> None:
    """No rule fails, and the rules about files find fault with just those that are refused."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, FILES[0])
        path.write_bytes(content)
        outcome = lint(path.parent, FILES[:1])

        assert outcome.failures == ()
        assert any(rule.code in CONTAINER for rule, _ in outcome.found) == is_refused(path)
        for _, finding in outcome.found:
            finding.message.encode()


@settings(max_examples=100, deadline=None)
@given(crowded_files() | damaged_files(), odd_files(), st.dictionaries(st.sampled_from("abc"), st.sampled_from(FILES)))
def test_a_damaged_shard(damaged: bytes, odd: bytes, rows: dict[str, str]) -> None:
    """No rule fails for a damaged shard beside a sound one, whatever the index says."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        for name, content in zip(FILES, (damaged, odd), strict=True):
            (directory / name).write_bytes(content)
        write_json(directory / INDEX, {"metadata": {"total_size": 0}, "weight_map": rows})
        write_json(directory / "config.json", {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": 4})
        outcome = lint(directory, FILES, INDEX)

        assert outcome.failures == ()
