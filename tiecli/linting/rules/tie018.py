"""TIE018: a head that the tie implies and that is not stored."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.architectures.roles import find_role
from tiecli.leaves import format_bytes
from tiecli.linting.edits import UntieLeaf
from tiecli.linting.listing import knows_all_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import is_there, list_tied


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a head."""
    specs = subject.specs
    for tie in list_tied(subject):
        if tie.source != "config" or find_role(tie.alias) != "head" or tie.canonical not in specs:
            continue
        if not is_there(tie.alias, specs) and knows_all_names(subject):
            size = format_bytes(specs[tie.canonical].nbytes)
            edit = UntieLeaf(tie.alias, tie.canonical)
            yield Finding(
                f"`{tie.alias}` is implied by the tie and not stored; loaders without tie support will fail.",
                (tie.alias, tie.canonical),
                subject.homes.get(tie.canonical, ""),
                fix=Fix(f"store `{tie.alias}` again, {size} more", (edit,), safe=True),
            )


RULE = Rule(
    code="TIE018",
    name="tied-head-not-materialized",
    severity="info",
    needs=("header", "config"),
    formats=("safetensors",),
    cure="safe",
    check=check,
    default=False,
    what="""\
Head and embedding are tied by the config, and only the embedding is stored. That is how Hugging Face saves tied
models, and nothing is wrong with the files; the rule is off unless selected.""",
    why="""\
Converters and runtimes that know no ties look for the head and do not find it: `missing tensor 'output.weight'`,
`tensor not found: lm_head.weight`. Select the rule for checkpoints that such a loader has to read.""",
    mend="""\
The fix stores the head again, as `tiecli untie` does: a copy of the embedding under the head's name. It is safe:
loaders that tie get the same values, and the config is left alone. TIE002 tells of the copy from then on.""",
    bad="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 151936×896""",
    good="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 151936×896
lm_head.weight              BF16 151936×896, the same bytes""",
    threads=(
        "llama.cpp#12567", "llama.cpp#13328", "llama.cpp#13768", "llama.cpp#11345", "llama.cpp#5824", "llama.cpp#6578",
        "keras-hub#1895", "RuVector#646", "TensorRT-LLM#1733", "vllm#53019", "accelerate#1772",
        "text-generation-inference#399", "mlx-lm#764", "mlx-lm#641", "tinker-cookbook#593", "Megatron-Bridge#4883",
        "Megatron-Bridge#1420", "torchtune#1381", "torchtune#1688", "DeepSpeed#1896", "aprender#2209",
        "sparkinfer#219", "web-xpu-ops#113", "mobius#295", "bumblebee#339", "transformers#30202",
    ),
)  # fmt: skip
