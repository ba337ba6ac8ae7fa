"""KEY001: names that a wrapper around the model has left its mark on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tiecli.linting.edits import RenameLeaf
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject

# Source: torch.compile; FSDP, now and before; checkpoint_wrapper; Lightning and DeepSpeed. No model has such parts.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module")
# DataParallel and its like. A model may well have a part of this name, but hardly nothing else beside it.
_MODULE = "module"
# torch's AveragedModel wraps likewise, and adds its counter.
_COUNTERS = frozenset({"n_averaged"})
_TRACES = (b"\nmodule.", *(wrapper.encode() for wrapper in _WRAPPERS))
_MOST_PREFIXES = 3


class _Marked(NamedTuple):
    """A name with a wrapper's mark.

    Attributes:
        prefix: All up to the last mark, numbers written `*`.
        name: The name without any mark.
    """

    prefix: str
    name: str


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding for all names that are marked."""
    naming = subject.naming
    if not any(trace in naming.forms for trace in _TRACES):
        return
    marked = _find_marked(naming.names)
    if not marked:
        return
    counts = Counter(found.prefix for found in marked.values())
    shown = " or ".join(f"`{prefix}`" for prefix, _ in counts.most_common(_MOST_PREFIXES))
    yield Finding(
        f"{len(marked):,} of {len(naming.names):,} names start with {shown}.",
        tuple(marked),
        fact=min(counts),
        fix=_mend(naming.names, marked, uniform=len(counts) == 1 and len(marked) == len(naming.names)),
        hint="Save the model that is inside: `model._orig_mod`, `model.module`, or `accelerator.unwrap_model(model)`.",
    )


def _find_marked(names: Sequence[str]) -> Mapping[str, _Marked]:
    wrapped = _is_wrapped(names)
    found = {name: _strip(name, wrapped=wrapped) for name in names}
    return {name: marked for name, marked in found.items() if marked is not None}


def _is_wrapped(names: Sequence[str]) -> bool:
    """Whether `module` is a wrapper's: all names begin with it, or some that others stand beside without it."""
    inner = [name.removeprefix(_MODULE + ".") for name in names if name.startswith(_MODULE + ".")]
    outer = [name for name in names if not name.startswith(_MODULE + ".") and name not in _COUNTERS]
    roots = {name.partition(".")[0] for name in inner}
    if outer and inner:
        return not roots.isdisjoint(name.partition(".")[0] for name in outer)
    # A list of layers that is called `module` looks no other than a list of layers that was wrapped.
    return not all(root.isdecimal() for root in roots)


def _strip(name: str, *, wrapped: bool) -> _Marked | None:
    parts = name.split(".")
    start = 0
    while start < len(parts) and (parts[start] in _WRAPPERS or (wrapped and parts[start] == _MODULE)):
        start += 1
    inside = [place for place in range(start, len(parts)) if parts[place] in _WRAPPERS]
    kept = ".".join(part for part in parts[start:] if part not in _WRAPPERS)
    end = inside[-1] + 1 if inside else start
    if not end or not kept:
        return None
    return _Marked(".".join("*" if part.isdecimal() else part for part in parts[:end]) + ".", kept)


def _mend(names: Sequence[str], marked: Mapping[str, _Marked], *, uniform: bool) -> Fix | None:
    """Takes the marks off, if every name stays one of its own."""
    renamed = [marked[name].name if name in marked else name for name in names]
    if len(set(renamed)) < len(names):
        return None
    edits = tuple(RenameLeaf(name, found.name) for name, found in marked.items())
    return Fix(f"rename {len(edits):,} leaves, `{edits[0].name}` the first", edits, safe=uniform)


RULE = Rule(
    code="KEY001",
    name="wrapper-prefix",
    severity="error",
    needs=("header",),
    formats=("safetensors",),
    cure="either",
    check=check,
    what="""\
Names hold a part that a wrapper put there: `_orig_mod` of torch.compile, `module` of DataParallel at the front of all
names, `_fsdp_wrapped_module`, `_checkpoint_wrapped_module` and their like. A model that has a part called `module`
beside others is not meant, nor is a bare list of layers of that name.""",
    why="""\
The model itself has no such names: strict loaders stop with "Unexpected key(s) in state_dict", lenient ones find none
of the weights that they look for and start from random ones.""",
    mend="""\
The fix takes the parts out of the names, in the headers, the index and the metadata; no array bytes change. It is safe
if all names begin alike, unsafe if only some do, and there is none if two leaves would then have one name.""",
    bad="""\
_orig_mod.model.embed_tokens.weight
_orig_mod.model.norm.weight""",
    good="""\
model.embed_tokens.weight
model.norm.weight""",
    threads=("nanoGPT#325", "pytorch#101107", "timm#2003", "LLMs-from-scratch#580", "open_clip#639"),
)
