"""TIE007: of a tied pair, only the head is stored."""

from __future__ import annotations

from collections.abc import Iterator

from tiecli.architectures.pairs import guess_heads, implies_head, knows_class, read_flags
from tiecli.architectures.roles import find_role, list_roles
from tiecli.linting.aliases import drop_alias
from tiecli.linting.edits import Edit, RenameLeaf, SetMetadata
from tiecli.linting.listing import knows_all_names, list_names
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject
from tiecli.linting.tiedgroups import list_orphans


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding a head, whoever says that it is tied: config, settings or metadata."""
    seen, names = set(), list_names(subject)
    for orphans in list_orphans(subject):
        heads = [name for name in orphans.stored if find_role(name) == "head"]
        if heads and not orphans.shared:
            seen.add(heads[0])
            yield _report(subject, heads[0], orphans.canonical, certain=orphans.certain)
    for tie in subject.stated if subject.aliases.places else ():
        # `safetensors.torch.save_model` keeps the first name in the alphabet, which is often the head's.
        if tie.source != "metadata" or tie.canonical in seen or tie.alias in names:
            continue
        if find_role(tie.canonical) == "head" and find_role(tie.alias) == "embedding" and knows_all_names(subject):
            seen.add(tie.canonical)
            yield _report(subject, tie.canonical, tie.alias, certain=True)
    if not seen and subject.config is not None:
        yield from _check_unknown(subject)


def _check_unknown(subject: Subject) -> Iterator[Finding]:
    """Looks at a class that is not known, but tied by its flag: a head, and nothing that may pass for an embedding."""
    config = subject.config or {}
    if not any(read_flags(config).values()) or not implies_head(config) or knows_class(config):
        return
    heads, embeddings = guess_heads(subject.naming.alone)
    if len(heads) != 1 or embeddings or not knows_all_names(subject):
        return
    head = subject.specs.get(heads[0])
    names = list_names(subject)
    if head is None or len(head.shape) != 2 or any(role != "head" for role in list_roles(names).values()):
        return
    if any(name != heads[0] and max(head.shape) in spec.shape for name, spec in subject.specs.items()):
        return
    index = subject.safetensors.shard_index
    listed = list_roles(index.weight_map if index else ())
    expected = [name for name, role in listed.items() if role == "embedding" and name not in names]
    yield _report(subject, heads[0], expected[0] if len(expected) == 1 else "", certain=False)


def _report(subject: Subject, head: str, embedding: str, *, certain: bool) -> Finding:
    spelled = f", `{embedding}`," if embedding else ""
    return Finding(
        f"Only `{head}` is stored; the embedding it is tied to{spelled} is missing.",
        (head, *filter(None, (embedding,))),
        subject.homes.get(head, ""),
        fix=_fix(subject, head, embedding, certain=certain) if embedding else None,
        hint="Save the embedding under its own name, and leave the head to the tie.",
    )


def _fix(subject: Subject, head: str, embedding: str, *, certain: bool) -> Fix:
    edits: list[Edit] = [RenameLeaf(head, embedding)]
    stated = (embedding, head)
    if stated in subject.aliases.places:
        edits += [*drop_alias(subject, stated), SetMetadata(subject.homes[head], head, embedding)]
    return Fix(f"rename `{head}` to `{embedding}`", tuple(edits), certain)


RULE = Rule(
    code="TIE007",
    name="inverted-tie",
    severity="warning",
    needs=("header",),
    formats=("safetensors", "orbax"),
    cure="either",
    check=check,
    what="""\
Head and embedding are tied, by the config, by settings or by the file's own metadata, and the one that is stored is
the head. Of a class that is not known, the flag has to say that it is tied, and nothing stored may pass for an
embedding. Tables that encoder and decoder share are TIE012's.""",
    why="""\
Loaders look for the input embedding and fill the head from it, not the other way round. With only the head there,
transformers 4 leaves both random, without an error; others stop (`tensor 'token_embd.weight' not found`).
`safetensors.torch.save_model` brings this about: of shared tensors it keeps the first name in the alphabet, and
`lm_head` comes before `model` and `transformer`.""",
    mend="""\
The fix gives the leaf the embedding's name, in header and index, and turns round what metadata says of the two. No
array byte changes, and every loader that ties finds what it looks for. It is unsafe where releases of transformers
do not agree that the two are tied, and for a class that is not known.""",
    bad="""\
config.json       tie_word_embeddings: true
lm_head.weight    BF16 50257×768
(transformer.wte.weight is not stored)""",
    good="""\
config.json               tie_word_embeddings: true
transformer.wte.weight    BF16 50257×768
(lm_head.weight is not stored)""",
    threads=(
        "keras-hub#3075", "keras-hub#3076", "keras-hub#3003", "llama.cpp#12456", "lerobot#1529", "lerobot#3069",
        "onnxruntime-genai#1089", "Qwen3#1101",
    ),
)  # fmt: skip
