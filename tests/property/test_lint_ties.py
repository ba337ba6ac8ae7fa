"""The rules about ties, over whatever config and metadata may hold: they find something or nothing, and go on."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.lint.building import write_raw
from tiecli.checkpoints.survey.units import Unit
from tiecli.linting.engine import run_rules
from tiecli.linting.registry import find_rule
from tiecli.linting.rule import Finding
from tiecli.linting.subject import Subject

RULES = [find_rule(f"TIE{number:03}") for number in (1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18)]
CLASSES = (
    "LlamaForCausalLM", "LlavaForConditionalGeneration", "BartForConditionalGeneration", "T5ForConditionalGeneration",
    "GroundingDinoForObjectDetection", "MllamaForConditionalGeneration", "VisionEncoderDecoderModel", "BertForMaskedLM",
    "HomemadeForCausalLM", "SiglipModel",
)  # fmt: skip
NAMES = (
    "lm_head.weight", "lm_head.scales", "lm_head", "model.embed_tokens.weight", "model.shared.weight",
    "model.decoder.embed_tokens.weight", "shared.weight", "wte.weight", "bbox_embed.1.layers.0.weight",
    "bbox_embed.0.layers.0.weight", "language_model.lm_head.weight", "", ".", "..", "weight", "a.\n`b`.weight",
    "\ud800",
)  # fmt: skip
flags = st.sampled_from([True, False, None, "true", 1, [], {"tie_word_embeddings": True}])
odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*NAMES, *CLASSES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "model_type"]), inner),
    max_leaves=8,
)
sections = odd | st.fixed_dictionaries({}, optional={"tie_word_embeddings": flags, "model_type": odd})
configs = odd | st.fixed_dictionaries(
    {},
    optional={
        "architectures": st.lists(st.sampled_from(CLASSES), max_size=2) | odd,
        "tie_word_embeddings": flags,
        "text_config": sections,
        "decoder": sections,
    },
)
metadata = st.dictionaries(st.sampled_from([*NAMES, "format", "tiecli", "total_size"]), st.sampled_from(NAMES) | odd)
shapes = st.lists(st.sampled_from([0, 1, 2, 8, 1 << 40]), max_size=3)
leaves = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(["F32", "BF16", "U32", "", "X"]), shapes))


def check(config: Any, header: dict[str, Any]) -> dict[str, list[Finding]]:
    """Lints a file with this header and no data, beside this config."""
    with tempfile.TemporaryDirectory() as directory:
        path = write_raw(Path(directory, "model.safetensors"), header, b"")
        path.with_name("config.json").write_text(json.dumps(config), encoding="utf-8")
        outcome = run_rules(Subject(Unit(path, "safetensors", path.parent, (path.name,))), RULES, data=False)
        # A config that is no object is told of by each rule that would ask it; else nothing stops one.
        told = set() if isinstance(config, dict) else {"`config.json` is not a JSON object"}
        assert {failure.message for failure in outcome.failures} <= told
        return {rule.code: [found for by, found in outcome.found if by is rule] for rule, _ in outcome.found}


@given(configs, metadata, leaves)
def test_no_config_and_no_metadata_stops_a_rule(
    config: Any, strings: dict[str, Any], stored: dict[str, tuple[str, list[int]]]
) -> None:
    """Any JSON where an object, a list, a name or a flag is expected; leaves of any dtype and shape."""
    header: dict[str, Any] = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in stored.items()
    }
    found = check(config, {"__metadata__": strings, **header})

    for finding in (finding for findings in found.values() for finding in findings):
        assert finding.message
        assert all(isinstance(leaf, str) for leaf in finding.leaves)


@given(st.permutations(["a.w", "b.w", "c.w", "d.w", "e.w"]), st.integers(1, 5), st.booleans())
def test_rings_chains_and_dead_ends_are_told_apart(names: list[str], length: int, closed: bool) -> None:
    """A chain that ends at a stored leaf is sound, one that ends elsewhere dangles, and a ring is a ring."""
    chain = names[:length]
    following = chain[1:] + (chain[:1] if closed else ["end.w"])
    strings = dict(zip(chain, following, strict=True))
    leaf = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}

    def codes(stored: str) -> set[str]:
        return set(check({}, {"__metadata__": strings, stored: leaf}))

    assert codes("other.w") == ({"TIE010"} if closed else {"TIE008"})
    if not closed:
        assert codes("end.w") == set()
