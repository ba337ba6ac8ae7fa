"""IDX006: a weights file beside the shards that the index does not name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiecli.checkpoints.safetensors.shardindex import SUFFIX
from tiecli.checkpoints.survey.units import is_indexed
from tiecli.checkpoints.wording import list_names
from tiecli.linting.placing import list_sets
from tiecli.linting.rule import Finding, Rule
from tiecli.linting.subject import Subject

_TRAINING = re.compile(
    r"(?:.*[._-])?(?:optimi[sz]er|optim|scheduler|scaler|rng|random|train(?:er|ing)?)(?:[._-].*)?\.safetensors",
    re.IGNORECASE | re.DOTALL,
)


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a stray file, or one a set of strays that are numbered."""
    index = subject.safetensors.shard_index
    if index is None or index.problems or not index.weight_map:
        return
    strays = _list_strays(subject, index.name)
    for numbered in list_sets(strays):
        files = tuple(numbered.files.values())
        strays = [name for name in strays if name not in set(files)]
        told = "is" if len(files) == 1 else "are"
        many = "" if len(files) == 1 else f"{len(files):,} files of one set, "
        yield Finding(f"{many}{list_names(files)} {told} not referenced by the index.", file=files[0])
    for name in strays:
        yield Finding(f"`{name}` is not referenced by the index.", file=name)


def _list_strays(subject: Subject, index_name: str) -> list[str]:
    survey = subject.safetensors
    stem = index_name.removesuffix(SUFFIX)
    known = {*(file.name for file in survey.files), *survey.missing, f"{stem}.safetensors"}
    adapted = "adapter_config.json" in survey.listing
    strays = [
        name
        for name in sorted(survey.listing)
        if name.endswith(".safetensors")
        and name not in known
        and f"{name}.index.json" not in survey.listing
        # Hidden, of training, an adapter, or a variant of the same model in another precision: `model.fp16.*`.
        and not name.startswith((".", f"{stem}."))
        and not (adapted and name.startswith("adapter"))
        and not _TRAINING.fullmatch(name)
    ]
    others = [name for name in survey.listing if ".safetensors.index." in name and name != index_name] if strays else []
    return [name for name in strays if not any(is_indexed(subject.unit.directory / other, name) for other in others)]


RULE = Rule(
    code="IDX006",
    name="stray-weights-file",
    severity="warning",
    needs=("header",),
    formats=("safetensors",),
    cure="none",
    check=check,
    what="""\
A safetensors file lies beside the shards, and neither this index nor another one there names it.
Not meant are hidden files, optimizer and training state, an adapter beside its `adapter_config.json`, a variant such as
`model.fp16.safetensors`, and shards that tiecli emptied and will fill again.""",
    why="""\
Loaders that read every safetensors file of a directory merge it in: tensors come twice, under names of another
framework (`consolidated.safetensors`), or in another precision, and what wins is a matter of chance.
Everybody who downloads the checkpoint pays for it, too.""",
    mend="No fix: only its author knows what the file is for. Move it out of the directory, or index it.",
    bad="""\
model.safetensors.index.json   names model-00001-of-00002 and model-00002-of-00002
model-00001-of-00002.safetensors
model-00002-of-00002.safetensors
consolidated.safetensors""",
    good="""\
model.safetensors.index.json   names model-00001-of-00002 and model-00002-of-00002
model-00001-of-00002.safetensors
model-00002-of-00002.safetensors""",
    threads=("sglang#35107", "mlx-vlm#1464", "mlx-swift-lm#408", "llama.cpp#17286", "sglang#21505"),
)
