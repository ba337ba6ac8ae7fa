"""Describing: edits as a person reads them in a plan, one line each."""

from __future__ import annotations

from tiecli.linting.edits import (
    DropLeaf,
    DropMember,
    Edit,
    IndexLeaf,
    JoinDatabases,
    RebuildIndex,
    RemovePath,
    RenameFile,
    RenameLeaf,
    Repack,
    SetMember,
    SetMetadata,
    TieLeaves,
    UntieLeaf,
    WriteText,
)

_LONGEST = 60


def describe_edit(edit: Edit) -> str:
    """Words an edit in one line, without a period.

    Example:
        >>> describe_edit(SetMember("config.json", ("text_config",), "tie_word_embeddings", "true"))
        'in `config.json`, set text_config.tie_word_embeddings to true'
        >>> describe_edit(RenameLeaf("_orig_mod.wte.weight", "wte.weight"))
        'rename `_orig_mod.wte.weight` to `wte.weight`'
    """
    match edit:
        case SetMember(file, place, key, value):
            text = f"in `{file}`, set {'.'.join((*place, key))} to {_shorten(value)}"
        case DropMember(file, place, key):
            text = f"in `{file}`, remove {'.'.join((*place, key))}"
        case SetMetadata(file, key, None):
            text = f"in the metadata of `{file}`, remove `{key}`"
        case SetMetadata(file, key, value):
            text = f"in the metadata of `{file}`, set `{key}` to `{_shorten(value or '')}`"
        case RemovePath(path):
            text = f"remove `{path}`"
        case WriteText(path, content):
            text = f"add `{path}`, {len(content):,} characters"
        case JoinDatabases(item):
            text = f"join the databases in `{item}`"
        case Repack(file):
            text = f"write `{file}` anew, its tensors side by side"
        case RebuildIndex(file):
            text = f"write the rows of `{file}` anew, from the headers"
        case _:
            text = _describe_leaves(edit)
    return text


def _describe_leaves(edit: Edit) -> str:
    """Words an edit of leaves, and of names."""
    match edit:
        case RenameLeaf(old, name) | RenameFile(old, name):
            text = f"rename `{old}` to `{name}`"
        case DropLeaf(leaf, file):
            text = f"drop `{leaf}`" + (f" from `{file}`" if file else "")
        case IndexLeaf(leaf, ""):
            text = f"in the index, remove the row of `{leaf}`"
        case IndexLeaf(leaf, shard):
            text = f"in the index, place `{leaf}` in `{shard}`"
        case TieLeaves(canonical, alias, transform):
            text = f"tie `{alias}` to `{canonical}`" + ("" if transform == "same" else f" | {transform}")
        case UntieLeaf(alias, canonical):
            text = f"store `{alias}` again, from `{canonical}`"
        case _:
            raise TypeError(f"no words for {type(edit).__name__}")
    return text


def _shorten(value: str) -> str:
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
