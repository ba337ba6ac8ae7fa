"""Cases of the rules about ties that read values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tests.lint.building import Case, Leaf, draw, llama, llama_config, write_file, write_json, write_llama, write_shards
from tests.lint.converting import write_item
from tiecli.checkpoints.protocol import Target
from tiecli.plan import TieRequest
from tiecli.verbs.tie import tie

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TURNED = (("embedding", "head", "transpose"),)
LAYERS = (("encoder.{i}.w", "decoder.{i}.w", "same"),)


def table(rows: int = 32, width: int = 8) -> NDArray[Any]:
    """Gives the values that `llama` fills its embedding with."""
    return np.frombuffer(draw(EMBEDDING, (rows, width), "BF16"), ml_dtypes.bfloat16).reshape(rows, width)


def drift(values: NDArray[Any], count: int = 1) -> NDArray[Any]:
    """Moves the last elements by one step."""
    moved = values.copy()
    moved.reshape(-1).view(f"u{values.itemsize}")[-count:] ^= 1
    return moved


def with_head(directory: Path, head: Leaf, **config: object) -> Path:
    """Writes a Llama with a head of its own."""
    return write_llama(directory, llama() | {HEAD: head}, **config)


def halves(directory: Path) -> Path:
    """Writes a Llama whose embedding and head hold one value."""
    half = np.full((32, 8), 0.5, np.float32)
    return write_llama(directory, llama() | {EMBEDDING: half, HEAD: half})


def sharded(directory: Path) -> Path:
    """Writes head and embedding into two shards."""
    leaves = llama() | {HEAD: table()}
    head = {HEAD: leaves.pop(HEAD)}
    write_json(directory / "config.json", llama_config(tie_word_embeddings=True))
    return write_shards(
        directory, {"model-00001-of-00002.safetensors": leaves, "model-00002-of-00002.safetensors": head}
    )


def nested(directory: Path, **flags: object) -> Path:
    """Writes a model of text and images, whose head repeats the embedding."""
    names = {"language_model.model.embed_tokens.weight": table(), "language_model.lm_head.weight": table()}
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "tie_word_embeddings": False,
        "text_config": {"model_type": "llama", "tie_word_embeddings": False, "vocab_size": 32},
    }
    write_json(directory / "config.json", config | flags)
    write_file(directory / "model.safetensors", {**names, "vision_tower.patch.weight": ("BF16", (8, 8))})
    return directory


def alone(directory: Path, **leaves: Leaf) -> Path:
    """Writes a file of leaves, without a config."""
    return write_file(directory / "model.safetensors", {name.replace("__", "."): leaf for name, leaf in leaves.items()})


def orbax(directory: Path, *, compress: bool = False, **leaves: Leaf) -> Path:
    """Writes an Orbax item of leaves."""
    return write_item(directory, {name.replace("__", "."): leaf for name, leaf in leaves.items()}, compress=compress)


def layers(count: int) -> dict[str, Leaf]:
    """Gives layers of an encoder, and of a decoder that repeats them."""
    return {f"{part}__{n}__w": large(n, 40, 50) for part in ("encoder", "decoder") for n in range(count)}


def shared(directory: Path) -> Path:
    """Ties two leaves of an Orbax item, which keeps both names on the same stored bytes."""
    tie(orbax(directory, a=A, b=A), [TieRequest("a", "b")], Target(directory / "tied"))
    return directory / "tied"


def recorded(directory: Path, copy: NDArray[Any]) -> Path:
    """Saves a tied Orbax item anew, both leaves whole, and takes its metadata along, as a training script may."""
    tied = json.loads((shared(directory / "before") / "_METADATA").read_text())
    item = orbax(directory / "after", a=A, b=copy)
    saved = json.loads((item / "_METADATA").read_text())
    (item / "_METADATA").write_text(json.dumps(saved | {"custom_metadata": tied["custom_metadata"]}))
    return item


def large(seed: int, *shape: int) -> NDArray[Any]:
    """Draws a leaf of which samples are taken first."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


A, B = large(1, 160, 200), large(2, 200, 160)

CASES = [
    Case(
        "TIE002",
        "head",
        lambda at: with_head(at, table(), tie_word_embeddings=True),
        True,
        data=True,
        says=("`lm_head.weight` repeats `model.embed_tokens.weight` byte for byte", "512 B wasted"),
    ),
    Case("TIE002", "two-shards", sharded, True, data=True),
    Case(
        "TIE002",
        "transposed-as-declared",
        lambda at: alone(at, embedding=table(), head=table().T.copy()),
        True,
        data=True,
        declared=TURNED,
        says=("`embedding | transpose`", "settings"),
    ),
    Case("TIE002", "orbax-as-declared", lambda at: orbax(at, **layers(3)), True, data=True, declared=LAYERS),
    Case(
        "TIE002",
        "zeros",
        lambda at: alone(at, a__bias=np.zeros(9), b__bias=np.zeros(9)),
        True,
        data=True,
        declared=(("a.bias", "b.bias", "same"),),
    ),
    Case(
        "TIE002",
        "stored-once",
        lambda at: write_llama(at, llama(head=False), tie_word_embeddings=True),
        False,
        data=True,
    ),
    Case("TIE002", "two-names-of-the-same-bytes", shared, False, data=True, declared=(("a", "b", "same"),)),
    Case("TIE002", "untied-and-different", write_llama, False, data=True),
    Case(
        "TIE003",
        "head",
        lambda at: with_head(at, drift(table(), 3), tie_word_embeddings=True),
        True,
        data=True,
        says=("3 of 256 elements", "1 ulp", "Older loaders"),
    ),
    Case("TIE003", "nothing-alike", lambda at: write_llama(at, tie_word_embeddings=True), True, data=True),
    Case(
        "TIE003",
        "transposed-as-declared",
        lambda at: alone(at, embedding=table(), head=drift(table()).T.copy()),
        True,
        data=True,
        declared=TURNED,
        says=("1 of 256",),
    ),
    Case(
        "TIE003",
        "orbax-one-layer",
        lambda at: orbax(at, **layers(1) | {"decoder__0__w": drift(large(0, 40, 50), 5)}, compress=True),
        True,
        data=True,
        declared=LAYERS,
        says=("`decoder.0.w`", "5 of 2,000"),
    ),
    Case(
        "TIE003", "saved-anew-with-its-manifest", lambda at: recorded(at, drift(A)), True, data=True, says=("manifest",)
    ),
    Case("TIE003", "saved-anew-as-it-was", lambda at: recorded(at, A), False, data=True),
    Case("TIE003", "untied", lambda at: with_head(at, drift(table(), 3)), False, data=True),
    Case(
        "TIE003",
        "tied-and-stored-once",
        lambda at: write_llama(at, llama(head=False), tie_word_embeddings=True),
        False,
        data=True,
    ),
    Case("TIE003", "declared-for-other-checkpoints", lambda at: alone(at, x=A, y=B), False, data=True, declared=LAYERS),
    Case("TIE004", "head", lambda at: with_head(at, table()), True, data=True, says=("equals", "untied")),
    Case("TIE004", "nested-flags", nested, True, data=True),
    Case("TIE004", "one-bit-apart", lambda at: with_head(at, drift(table())), False, data=True),
    Case("TIE004", "one-value-throughout", halves, False, data=True),
    Case(
        "TIE016",
        "matrix",
        lambda at: alone(at, a=A, b=A.T.copy()),
        True,
        data=True,
        says=("`b` is the transpose of `a`", "125.0 KiB"),
    ),
    Case(
        "TIE016",
        "axes-turned",
        lambda at: alone(at, a=large(1, 8, 6, 4), b=large(1, 8, 6, 4).transpose(2, 0, 1).copy()),
        True,
        data=True,
        says=("turned by `transpose(2,0,1)`",),
    ),
    Case("TIE016", "orbax", lambda at: orbax(at, a=A, b=A.T.copy(), compress=True), True, data=True),
    Case("TIE016", "symmetric", lambda at: alone(at, a=A[:8, :8] + A[:8, :8].T), False, data=True),
    Case("TIE016", "one-element-off", lambda at: alone(at, a=A, b=drift(A).T.copy()), False, data=True),
    Case("TIE016", "column", lambda at: alone(at, a=large(1, 1, 20), b=large(1, 20, 1)), False, data=True),
    Case(
        "TIE017",
        "matrix",
        lambda at: alone(at, a=A, b=A.reshape(200, 160)),
        True,
        data=True,
        says=("`a` (F32 160×200) and `b` (F32 200×160)",),
    ),
    Case("TIE017", "small", lambda at: alone(at, a=large(1, 6, 4), b=large(1, 6, 4).reshape(4, 6)), True, data=True),
    Case("TIE017", "orbax", lambda at: orbax(at, a=A, b=A.reshape(200, 160), compress=True), True, data=True),
    Case("TIE017", "bfloat16", lambda at: alone(at, a=table(), b=table().reshape(8, 32)), True, data=True),
    Case("TIE017", "one-element-off", lambda at: alone(at, a=A, b=drift(A).reshape(200, 160)), False, data=True),
    Case("TIE017", "constant", lambda at: alone(at, a=np.ones((8, 4)), b=np.ones((4, 8))), False, data=True),
    Case("TIE017", "axis-of-one", lambda at: alone(at, a=large(1, 4, 1, 6), b=large(1, 1, 4, 6) + 1), False, data=True),
]
