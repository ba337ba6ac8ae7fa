"""Cases of the rules about ties that need no more than headers, config and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.lint.building import Case, Leaf, draw, llama, write_file, write_json, write_llama, write_shards
from tiecli.checkpoints.protocol import Target
from tiecli.plan import TieRequest
from tiecli.verbs.tie import tie

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TABLE: Leaf = ("BF16", (32, 8))
BODY = {name: leaf for name, leaf in llama().items() if name not in (EMBED, HEAD)}
QUANTIZED: dict[str, Leaf] = {
    "lm_head.qweight": ("I32", (1, 32)),
    "lm_head.qzeros": ("I32", (1, 4)),
    "lm_head.scales": ("F16", (1, 32)),
}
VLM = "model.language_model.embed_tokens.weight"
VLM_LEAVES: dict[str, Leaf] = {VLM: TABLE, "model.language_model.norm.weight": ("BF16", (8,))}
SHARED, ENCODER, DECODER = (
    f"model.{part}.weight" for part in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
)
FLAG = "tie_word_embeddings"


def save(
    directory: Path,
    leaves: Mapping[str, Leaf],
    metadata: Mapping[str, str] | None = None,
    name: str = "LlamaForCausalLM",
    tied: object = False,
    **config: object,
) -> Path:
    """A checkpoint with the leaves, metadata and config that a case is about; `...` leaves the flag out."""
    write_file(directory / "model.safetensors", leaves, {"format": "pt", **(metadata or {})})
    document = {"architectures": [name], FLAG: tied, "vocab_size": 32, **config}
    write_json(directory / "config.json", {key: value for key, value in document.items() if value is not ...})
    return directory


def plain(directory: Path, leaves: Mapping[str, Leaf], metadata: Mapping[str, str] | None = None) -> Path:
    """A file without a config."""
    return write_file(directory / "model.safetensors", leaves, {"format": "pt", **(metadata or {})})


def vlm(directory: Path, top: object, inner: object, head: Leaf | None = None, **config: object) -> Path:
    """A model of several parts, with a flag at one place, both or none."""
    text = {"model_type": "llama", "vocab_size": 32, FLAG: inner}
    section = {key: value for key, value in text.items() if value is not ...}
    leaves = VLM_LEAVES if head is None else {**VLM_LEAVES, HEAD: head}
    name = str(config.pop("name", "LlavaForConditionalGeneration"))
    return save(directory, leaves, None, name, top, text_config=section, vocab_size=..., **config)


def bart(directory: Path, *tables: str, tied: bool = True) -> Path:
    """An encoder-decoder with those tables."""
    body: dict[str, Leaf] = {f"model.{side}.layers.0.fc1.weight": ("BF16", (8, 8)) for side in ("encoder", "decoder")}
    leaves = {**body, **dict.fromkeys(tables, TABLE)}
    return save(directory, leaves, None, "BartForConditionalGeneration", tied)


def tied_by_tiecli(directory: Path, *, shards: bool = False) -> Path:
    """A sound Llama with equal embedding and head, after `tiecli tie`."""
    table = np.frombuffer(draw(EMBED, (32, 8), "F32"), np.float32).reshape(32, 8)
    write_llama(directory / "before", {**BODY, EMBED: table, HEAD: table})
    if shards:
        (directory / "before" / "model.safetensors").unlink()
        first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
        write_shards(directory / "before", {first: {EMBED: table}, second: {**BODY, HEAD: table}})
    tie(directory / "before", [TieRequest(EMBED, HEAD)], Target(directory / "after", sync=False))
    return directory / "after"


UNTIED_HEAD_MISSING = [
    Case("TIE001", "llama", lambda it: save(it, llama(head=False)), True, says=(f"is stored for `{EMBED}`",)),
    Case("TIE001", "untied-by-default", lambda it: save(it, llama(head=False), tied=...), True),
    Case("TIE001", "nested", lambda it: vlm(it, False, False), True),
    Case("TIE001", "head-elsewhere", lambda it: save(it, {**llama(head=False), "model.model.lm_head.weight": TABLE}),
         True, says=("`model.model.lm_head.weight` has its shape",)),
    Case("TIE001", "unknown-class", lambda it: save(it, llama(head=False), None, "HomemadeForCausalLM"), True),
    Case("TIE001", "class-that-never-ties",
         lambda it: save(it, llama(head=False), None, "KimiLinearForCausalLM"), True),
    Case("TIE001", "both-stored", lambda it: save(it, llama()), False),
    Case("TIE001", "bare-class", lambda it: save(it, llama(head=False), None, "LlamaModel"), False),
    Case("TIE001", "classifier", lambda it: save(
        it, {**llama(head=False), "score.weight": ("BF16", (2, 8))}, None, "LlamaForSequenceClassification"), False),
    Case("TIE001", "bare-names", lambda it: save(
        it, {name.removeprefix("model."): leaf for name, leaf in llama(head=False).items()}), False),
    Case("TIE001", "quantized-head", lambda it: save(it, {**llama(head=False), **QUANTIZED}), False),
    Case("TIE001", "unknown-class-other-head", lambda it: save(
        it, {**llama(head=False), "predictor.weight": TABLE}, None, "HomemadeForCausalLM"), False),
    Case("TIE001", "declared", lambda it: save(it, llama(head=False)), False, declared=((EMBED, HEAD, "same"),)),
]  # fmt: skip

NESTED_FLAG_CONFLICT = [
    Case("TIE005", "no-head", lambda it: vlm(it, False, True), True,
         says=("false at the top", "true at `text_config`")),
    Case("TIE005", "absent-at-the-top", lambda it: vlm(it, ..., True, name="AriaForConditionalGeneration"), True,
         says=("absent at the top", "transformers 4 ties")),
    Case("TIE005", "absent-inside", lambda it: vlm(it, True, ..., head=TABLE), True, says=("absent at `text_config`",)),
    Case("TIE005", "both-stored", lambda it: vlm(it, True, False, head=TABLE), True),
    Case("TIE005", "unknown-class", lambda it: vlm(it, True, False, head=TABLE, name="HomemadeForCausalLM"), True),
    Case("TIE005", "both-true", lambda it: vlm(it, True, True), False),
    Case("TIE005", "both-false", lambda it: vlm(it, False, False, head=TABLE), False),
    Case("TIE005", "flag-of-the-eye", lambda it: vlm(it, True, True, vision_config={FLAG: False}), False),
    Case("TIE005", "only-the-nested-one-counts", lambda it: save(
        it, {"decoder.output_projection.weight": TABLE, "decoder.model.decoder.embed_tokens.weight": TABLE}, None,
        "VisionEncoderDecoderModel", decoder={"model_type": "trocr", FLAG: False}, tied=True), False),
    Case("TIE005", "another-model's-config", lambda it: save(
        it, {"decoder.conv_in.weight": ("F32", (4, 4))}, None, "LlavaForConditionalGeneration",
        text_config={FLAG: True}), False),
]  # fmt: skip

TIE_FLAG_ABSENT = [
    Case("TIE006", "tied-by-default", lambda it: save(
        it, {"transformer.wte.weight": TABLE}, None, "GPT2LMHeadModel", tied=...), True,
         says=(": transformers ties",)),
    Case("TIE006", "untied-by-default", lambda it: save(it, llama(), tied=...), True, says=("does not tie",)),
    Case("TIE006", "neither-true-nor-false", lambda it: save(it, llama(), tied="yes"), True, says=('is "yes"',)),
    Case("TIE006", "unknown-class", lambda it: save(it, llama(), None, "HomemadeForCausalLM", tied=...), True),
    Case("TIE006", "nowhere", lambda it: vlm(it, ..., ..., head=TABLE, name="InternVLForConditionalGeneration"), True,
         says=("transformers 5 ties, transformers 4 does not",)),
    Case("TIE006", "given", lambda it: save(it, llama()), False),
    Case("TIE006", "given-inside", lambda it: vlm(it, ..., False, head=TABLE), False),
    Case("TIE006", "ties-whatever-it-says", lambda it: save(
        it, {"shared.weight": TABLE}, None, "T5ForConditionalGeneration", tied=...), False),
    Case("TIE006", "no-head", lambda it: save(it, llama(head=False), None, "LlamaModel", tied=...), False),
    Case("TIE006", "another-model's-config", lambda it: save(
        it, {"decoder.conv_in.weight": ("F32", (4, 4))}, None, tied=...), False),
]  # fmt: skip

SAVE_MODEL = {EMBED: HEAD}
INVERTED_TIE = [
    Case("TIE007", "llama", lambda it: save(it, {**BODY, HEAD: TABLE}, tied=True), True,
         says=(f"Only `{HEAD}` is stored", f"`{EMBED}`, is missing")),
    Case("TIE007", "by-metadata", lambda it: plain(it, {**BODY, HEAD: TABLE}, SAVE_MODEL), True),
    Case("TIE007", "by-both", lambda it: save(it, {**BODY, HEAD: TABLE}, SAVE_MODEL, tied=True), True),
    Case("TIE007", "unknown-class", lambda it: save(
        it, {**BODY, HEAD: TABLE}, None, "HomemadeForCausalLM", tied=True), True),
    Case("TIE007", "declared", lambda it: plain(it, {**BODY, HEAD: TABLE}), True, declared=((EMBED, HEAD, "same"),)),
    Case("TIE007", "both-stored", lambda it: save(it, llama(), tied=True), False),
    Case("TIE007", "embedding-stored", lambda it: save(it, llama(head=False), tied=True), False),
    Case("TIE007", "vision-model", lambda it: plain(
        it, {"patch_embed.proj.weight": ("F32", (8, 8)), "head.weight": ("F32", (32, 8))}), False),
    Case("TIE007", "speech-model", lambda it: save(
        it, {"wav2vec2.masked_spec_embed": ("F32", (8,)), HEAD: TABLE}, None, "Wav2Vec2ForCTC", tied=True), False),
    Case("TIE007", "quantized-embedding", lambda it: save(
        it, {**BODY, HEAD: TABLE, "model.embed_tokens.weight_packed": ("I32", (32, 1))}, tied=True), False),
]  # fmt: skip

DANGLING_ALIAS = [
    Case("TIE008", "target-not-stored", lambda it: plain(it, BODY, {HEAD: EMBED}), True,
         says=(f"ties `{HEAD}` to `{EMBED}`",)),
    Case("TIE008", "chain-to-nowhere", lambda it: plain(
        it, BODY, {HEAD: "a.embed.weight", "a.embed.weight": EMBED}), True, says=("`a.embed.weight` to",)),
    Case("TIE008", "target-stored", lambda it: plain(it, llama(head=False), {HEAD: EMBED}), False),
    Case("TIE008", "chain", lambda it: plain(
        it, llama(head=False), {HEAD: "a.embed.weight", "a.embed.weight": EMBED}), False),
    Case("TIE008", "alias-stored", lambda it: plain(it, llama(head=False), {EMBED: HEAD}), False),
    Case("TIE008", "other-strings", lambda it: plain(it, BODY, {
        "modelspec.sai_model_spec": "1.0.0", "modelspec.title": "my.merge", "ss_base_model_version": "sd_v1.5",
        "config.weight": "see README.md", "framework": "torch", "step": "1000"}), False),
    Case("TIE008", "values-that-are-keys", lambda it: plain(it, BODY, {
        "prediction_type": "epsilon", "epsilon": "1e-6", "modelspec.title": "name", "name": "merge"}), False),
    Case("TIE008", "word-that-leads-to-no-leaf", lambda it: plain(
        it, BODY, {"tied": "a.embed.weight", "a.embed.weight": EMBED}), True, says=("`tied`, `a.embed.weight` to",)),
]  # fmt: skip

ALIAS_SHADOWS_TENSOR = [
    Case("TIE009", "both-stored", lambda it: save(it, llama(), {HEAD: EMBED}), True,
         says=(f"metadata alias of `{EMBED}`",)),
    Case("TIE009", "no-config", lambda it: plain(it, llama(), {HEAD: EMBED}), True),
    Case("TIE009", "alias-not-stored", lambda it: plain(it, llama(head=False), {HEAD: EMBED}), False),
    Case("TIE009", "leaf-called-like-a-key", lambda it: plain(
        it, {"step": ("I64", (1,)), "pt": ("F32", (2,)), "format": ("F32", (3,))}, {"step": "1000"}), False),
    Case("TIE009", "tied-by-tiecli", tied_by_tiecli, False, data=True),
]  # fmt: skip

ALIAS_CYCLE = [
    Case("TIE010", "two", lambda it: plain(it, BODY, {HEAD: EMBED, EMBED: HEAD}), True,
         says=(f"`{HEAD}` -> `{EMBED}` -> `{HEAD}`",)),
    Case("TIE010", "three", lambda it: plain(it, BODY, {"a": "b.w", "b.w": "c.w", "c.w": "a"}), True),
    Case("TIE010", "itself", lambda it: plain(it, BODY, {HEAD: HEAD}), True),
    Case("TIE010", "chain", lambda it: plain(it, llama(head=False), {"a": "b", "b": EMBED}), False),
    Case("TIE010", "fork", lambda it: plain(it, llama(head=False), {"a": EMBED, "b": EMBED}), False),
    Case("TIE010", "words", lambda it: plain(it, BODY, {"pt": "pt", "framework": "framework"}), False),
]  # fmt: skip

ALIAS_WITHOUT_FLAG = [
    Case("TIE011", "flag-says-no", lambda it: save(it, llama(head=False), {HEAD: EMBED}), True,
         says=(f"only as a metadata alias of `{EMBED}`",)),
    Case("TIE011", "layers", lambda it: save(
        it, llama(), {"model.layers.2.mlp.up_proj.weight": "model.layers.1.mlp.up_proj.weight"}), True),
    Case("TIE011", "unknown-class", lambda it: save(
        it, llama(head=False), {HEAD: EMBED}, "HomemadeForCausalLM"), True),
    Case("TIE011", "flag-says-yes", lambda it: save(it, llama(head=False), {HEAD: EMBED}, tied=True), False),
    Case("TIE011", "declared", lambda it: save(it, llama(head=False), {HEAD: EMBED}), False,
         declared=((EMBED, HEAD, "same"),)),
    Case("TIE011", "unknown-class-ties-layers", lambda it: save(
        it, llama(), {"model.layers.2.mlp.up_proj.weight": "model.layers.1.mlp.up_proj.weight"},
        "HomemadeForCausalLM"), False),
    Case("TIE011", "one-group", lambda it: bart(it, SHARED), False),
    Case("TIE011", "tied-by-tiecli", tied_by_tiecli, False),
    Case("TIE011", "shards-tied-by-tiecli", lambda it: tied_by_tiecli(it, shards=True), False),
]  # fmt: skip

INCOMPLETE_TIE_GROUP = [
    Case("TIE012", "decoder's", lambda it: bart(it, DECODER), True,
         says=(f"stores `{DECODER}` but not", f"`{SHARED}`")),
    Case("TIE012", "all-but-the-table", lambda it: bart(it, ENCODER, DECODER, HEAD), True),
    Case("TIE012", "head-alone", lambda it: bart(it, HEAD), True),
    Case("TIE012", "encoder-alone", lambda it: save(
        it, {"encoder.embed_tokens.weight": TABLE}, None, "T5EncoderModel", tied=...), True),
    Case("TIE012", "table", lambda it: bart(it, SHARED), False),
    Case("TIE012", "table-and-copies", lambda it: bart(it, SHARED, ENCODER, DECODER, HEAD), False),
    Case("TIE012", "untied", lambda it: bart(it, ENCODER, DECODER, HEAD, tied=False), False),
    Case("TIE012", "decoder-only", lambda it: save(
        it, {DECODER: TABLE}, None, "BartForCausalLM", tied=True), False),
]  # fmt: skip

TIED_SHAPE_MISMATCH = [
    Case("TIE013", "rows", lambda it: save(it, {**llama(), HEAD: ("BF16", (40, 8))}, tied=True), True,
         says=(f"`{EMBED}` 32×8 and `{HEAD}` 40×8",)),
    Case("TIE013", "declared", lambda it: plain(it, {"a.w": ("F32", (4, 6)), "b.w": ("F32", (4, 6))}), True,
         declared=(("a.w", "b.w", "transpose"),), says=("is 6×4",)),
    Case("TIE013", "declared-slice-too-long", lambda it: plain(
        it, {"a.w": ("F32", (4, 6)), "b.w": ("F32", (8, 6))}), True, declared=(("a.w", "b.w", "[:8]"),)),
    Case("TIE013", "declared-slice", lambda it: save(
        it, {"cpmant.input_embedding.weight": ("F32", (1056, 8)), HEAD: ("F32", (32, 8))}, None, "CpmAntForCausalLM"),
         False, declared=(("cpmant.input_embedding.weight", HEAD, "[:32]"),)),
    Case("TIE013", "known-extra-rows", lambda it: save(
        it, {"model.embed_tokens.weight": ("F32", (40, 8)), HEAD: ("F32", (32, 8))}, None, "MllamaForCausalLM",
        model_type="mllama_text_model", tied=True), False),
    Case("TIE013", "untied", lambda it: save(it, {**llama(), HEAD: ("BF16", (32, 16))}), False),
    Case("TIE013", "declared-transpose", lambda it: plain(
        it, {"a.w": ("F32", (4, 6)), "b.w": ("F32", (6, 4))}), False, declared=(("a.w", "b.w", "transpose"),)),
    Case("TIE013", "unknown-class-other-width", lambda it: save(
        it, {**llama(), HEAD: ("BF16", (32, 4))}, None, "HomemadeForCausalLM", tied=True), False),
]  # fmt: skip

TIED_DTYPE_MISMATCH = [
    Case("TIE014", "head-in-full", lambda it: save(it, {**llama(), HEAD: ("F32", (32, 8))}, tied=True), True,
         says=(f"`{EMBED}` is BF16, `{HEAD}` is F32",)),
    Case("TIE014", "declared", lambda it: plain(it, {"a.w": ("F32", (4, 6)), "b.w": ("BF16", (6, 4))}), True,
         declared=(("a.w", "b.w", "transpose"),)),
    Case("TIE014", "declared-cast", lambda it: plain(it, {"a.w": ("F32", (4, 6)), "b.w": ("BF16", (4, 6))}), False,
         declared=(("a.w", "b.w", "cast(BF16)"),)),
    Case("TIE014", "untied", lambda it: save(it, {**llama(), HEAD: ("F32", (32, 8))}), False),
    Case("TIE014", "one-dtype", lambda it: save(it, llama(), tied=True), False),
]  # fmt: skip

QUANTIZED_TIED_HEAD = [
    Case("TIE015", "gptq", lambda it: save(it, {**llama(head=False), **QUANTIZED}, tied=True), True,
         says=("`lm_head.qweight`", "`lm_head.scales`")),
    Case("TIE015", "mlx", lambda it: save(it, {
        **llama(head=False), HEAD: ("U32", (32, 1)), "lm_head.scales": ("BF16", (32, 1)),
        "lm_head.biases": ("BF16", (32, 1))}, tied=True), True),
    Case("TIE015", "unknown-class", lambda it: save(
        it, {**llama(head=False), **QUANTIZED}, None, "HomemadeForCausalLM", tied=True), True),
    Case("TIE015", "flag-says-no", lambda it: save(it, {**llama(head=False), **QUANTIZED}), False),
    Case("TIE015", "quantized-layers", lambda it: save(
        it, {**llama(1, head=False), "model.layers.0.mlp.up_proj.scales": ("F16", (1, 8))}, tied=True), False),
    Case("TIE015", "head-with-a-bias", lambda it: save(
        it, {**llama(head=False), "lm_head.bias": ("BF16", (32,))}, tied=True), False),
]  # fmt: skip

NOT_MATERIALIZED = [
    Case("TIE018", "llama", lambda it: save(it, llama(head=False), tied=True), True,
         says=(f"`{HEAD}` is implied",)),
    Case("TIE018", "tied-by-tiecli", tied_by_tiecli, True),
    Case("TIE018", "untied", lambda it: save(it, llama()), False),
    Case("TIE018", "stored", lambda it: save(it, llama(), tied=True), False),
    Case("TIE018", "no-head", lambda it: save(it, llama(head=False), None, "LlamaModel", tied=True), False),
]  # fmt: skip

CASES = [
    *UNTIED_HEAD_MISSING,
    *NESTED_FLAG_CONFLICT,
    *TIE_FLAG_ABSENT,
    *INVERTED_TIE,
    *DANGLING_ALIAS,
    *ALIAS_SHADOWS_TENSOR,
    *ALIAS_CYCLE,
    *ALIAS_WITHOUT_FLAG,
    *INCOMPLETE_TIE_GROUP,
    *TIED_SHAPE_MISMATCH,
    *TIED_DTYPE_MISMATCH,
    *QUANTIZED_TIED_HEAD,
    *NOT_MATERIALIZED,
]
