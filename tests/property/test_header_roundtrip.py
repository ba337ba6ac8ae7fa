"""Tying and untying gives back every file byte for byte, however odd its header."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from safetensors import deserialize

from tests.property.strategies_headers import tied_files
from tests.unit.checkpoints.safetensors.surgery import tie, untie


@given(tied_files(), st.booleans())
def test_untying_restores_the_bytes(file: tuple[bytes, dict[str, str]], one_by_one: bool) -> None:
    """Tying drops the aliases and nothing else, and untying restores the file, in one step or in many."""
    original, pairs = file
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "m.safetensors")
        source.write_bytes(original)
        tied = source
        steps = [{alias: canonical} for alias, canonical in pairs.items()] if one_by_one else [pairs]
        for number, step in enumerate(steps):
            tie(tied, Path(name, f"tied{number}"), step)
            tied = Path(name, f"tied{number}")

        before, after = (dict(deserialize(path.read_bytes())) for path in (source, tied))
        assert after == {name: it for name, it in before.items() if name not in pairs}

        aliases = random.Random(len(original)).sample(sorted(pairs), len(pairs))
        for number, alias in enumerate(aliases if one_by_one else [""]):
            report = untie(tied, Path(name, f"untied{number}"), *filter(None, [alias]))
            tied = Path(name, f"untied{number}")
        assert report.restored is True
        assert tied.read_bytes() == original


@given(tied_files(), st.dictionaries(st.sampled_from(["format", "alias0", "new"]), st.just("x"), min_size=1))
def test_edited_files_keep_the_edit(file: tuple[bytes, dict[str, str]], edit: dict[str, str]) -> None:
    """A tied file whose metadata somebody changed is untied with that change, and said to be new."""
    original, pairs = file
    with tempfile.TemporaryDirectory() as name:
        source, tied, untied = (Path(name, part) for part in "stu")
        source.write_bytes(original)
        tie(source, tied, pairs)
        raw = tied.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        before = dict(header["__metadata__"])
        header["__metadata__"] |= edit
        text = json.dumps(header).encode()
        tied.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])

        report = untie(tied, untied)

        assert dict(deserialize(untied.read_bytes())) == dict(deserialize(original))
        raw = untied.read_bytes()
        metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")]).get("__metadata__") or {}
        if report.restored is False:
            assert {key: metadata[key] for key in edit} == edit
            assert report.notices
        else:
            # The edit changed nothing, or only what tying had added.
            assert all(before.get(key) == "x" or key in pairs for key in edit)
            assert raw == original
