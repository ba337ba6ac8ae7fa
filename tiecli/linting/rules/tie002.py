"""TIE002: a tied leaf is stored although its canonical leaf holds the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.leaves import format_bytes
from tiecli.linting.comparing import ComparedTie, compare_ties
from tiecli.linting.edits import TieLeaves
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a pair that is to be tied, is stored twice, and is equal."""
    for pair in compare_ties(subject):
        if not pair.comparison.equal or pair.shared or pair.tie.source == "manifest":
            continue
        size = format_bytes(subject.specs[pair.tie.alias].nbytes)
        if pair.tie.source == "config":
            who, loaders = "the config ties", " Strict loaders whose tied model has no such leaf refuse it."
        else:
            who, loaders = f"{pair.tie.origin} tie", ""
        yield Finding(
            f"`{pair.tie.alias}` repeats {pair.source} byte for byte although {who} them ({size} wasted).{loaders}",
            pair.leaves,
            subject.homes.get(pair.tie.alias, ""),
            fix=_fix(pair, size),
        )


def _fix(pair: ComparedTie, size: str) -> Fix | None:
    """Ties the two: safe where loaders tie them by themselves, or still find both names."""
    if pair.tie.parts:
        return None
    edit = TieLeaves(pair.tie.canonical, pair.tie.alias, pair.tie.transform)
    if pair.sharable:
        return Fix(
            f"store `{pair.tie.alias}` as a second name of `{pair.tie.canonical}`, {size} less", (edit,), safe=True
        )
    safe = pair.tie.source == "config" and not pair.tie.guessed
    return Fix(f"drop `{pair.tie.alias}`, {size}", (edit,), safe)


RULE = Rule(
    code="TIE002",
    name="redundant-tied-head",
    severity="warning",
    needs=("data", "config"),
    formats=("safetensors", "orbax"),
    cure="either",
    check=check,
    what="""\
Config or settings tie two leaves, both are stored, and they are equal, byte for byte: usually an output head
and the input embedding. Where releases of a loader read the config differently, TIE005 tells of it instead.""",
    why="""\
The second copy says nothing that the tie does not say. It costs disk, download and, where a loader does not
tie anew, memory. Strict loaders stop at it: their tied model has no such parameter (`KeyError: 'lm_head.weight'`,
`Received 1 parameters not in model`).""",
    mend="""\
The fix ties them as `tiecli tie` does: the alias leaves the file, its index and nothing else, and comes back
with `tiecli untie`. It is safe where the config of a known class ties them, since every loader of that class
fills the alias from the other leaf; also in Orbax checkpoints, where both names stay, on the same stored bytes.
Where only settings speak of the tie, it is unsafe: stock loaders do not know of it, and will miss the leaf.""",
    bad="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 151936×896
lm_head.weight              BF16 151936×896, the same bytes""",
    good="""\
config.json                 tie_word_embeddings: true
model.embed_tokens.weight   BF16 151936×896""",
    threads=(
        "vllm#6758", "vllm#4641", "vllm#12689", "vllm#3344", "vllm#53170", "LlamaFactory#2789", "accelerate#3870",
        "mlx-lm#1298", "mlx-lm#722", "mlx-lm#1055", "mlx-examples#564", "mlx-swift-lm#525", "mlx-vlm#421",
        "lmms-engine#157", "llm-compressor#2798", "llm-compressor#2835", "llm-compressor#1969", "sglang#2935",
        "ColossalAI#6447", "fms-hf-tuning#258", "llama.cpp#12483", "torchtune#1381",
    ),
)  # fmt: skip
