"""Tying: everything that speaks about ties is heard, and nothing is taken for it that only looks alike."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lint.building import Leaf, llama, write_file, write_json, write_llama, write_shards
from tests.lint.converting import write_item
from tiecli.checkpoints.survey.walking import find_units
from tiecli.linting.aliases import Aliases
from tiecli.linting.declaring import DeclaredPair
from tiecli.linting.listing import knows_all_names
from tiecli.linting.subject import Subject

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
PAIRS: dict[str, Leaf] = {f"{side}.{n}.w": ("F32", (2,)) for side in "ab" for n in range(3)}


def look(path: Path, *declared: tuple[str, ...]) -> Subject:
    """The only checkpoint of a path."""
    (unit,) = find_units(path)
    return Subject(unit, tuple(DeclaredPair(*pair) for pair in declared))


def plain(directory: Path, metadata: Mapping[str, str], leaves: Mapping[str, Leaf] = PAIRS) -> Path:
    """A file without a config."""
    return write_file(directory / "model.safetensors", leaves, {"format": "pt", **metadata})


def pairs(subject: Subject, source: str) -> list[tuple[str, str]]:
    """What one source says."""
    return [(tie.alias, tie.canonical) for tie in subject.stated if tie.source == source]


@pytest.mark.parametrize("tied", [True, False])
def test_a_pair_is_stated_whatever_the_flag_says(tmp_path: Path, tied: bool) -> None:
    """Stored or not, tied or not."""
    (tie,) = look(write_llama(tmp_path, llama(head=False), tie_word_embeddings=tied)).stated

    assert (tie.alias, tie.canonical, tie.tied, tie.source, tie.disputed) == (HEAD, EMBED, tied, "config", False)


def test_a_damaged_checkpoint_states_what_it_can(tmp_path: Path) -> None:
    """The data is cut off; header and config are there."""
    path = write_llama(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])

    assert pairs(look(tmp_path), "config") == [(HEAD, EMBED)]


def test_declared_patterns_are_expanded(tmp_path: Path) -> None:
    """Over the stored names; the alias need not be stored where no pattern asks for it."""
    path = plain(tmp_path, {"b.9.w": "a.0.w"})
    subject = look(path, ("a.{i}.w", "b.{i}.w", "reverse"), ("a.1.w", "c.w"), ("x.*", "y.*"), ("p", "q"))

    assert pairs(subject, "settings") == [*((f"b.{n}.w", f"a.{n}.w") for n in range(3)), ("c.w", "a.1.w")]


def test_declared_patterns_know_the_keys_of_an_orbax_tree(tmp_path: Path) -> None:
    """Names are spelled as the tree spells them."""
    subject = look(write_item(tmp_path, PAIRS), ("a[{i}].w", "b[{i}].w"), ("a.{i}.w", "b.{i}.w"))
    with contextlib.closing(subject):
        assert set(pairs(subject, "settings")) == {(f"b.{n}.w", f"a.{n}.w") for n in range(3)}


def test_a_pair_of_several_sources(tmp_path: Path) -> None:
    """Their names are told apart."""
    (tie,) = look(plain(tmp_path, {}), ("(a.0.w, a.1.w)", "b.0.w", "concat")).stated

    assert (tie.canonical, tie.parts) == ("(a.0.w, a.1.w)", ("a.0.w", "a.1.w"))


def test_a_damaged_manifest_says_nothing(tmp_path: Path) -> None:
    """What else speaks is heard all the same."""
    path = plain(tmp_path, {"tiecli": '{"schema": 7', "c.w": "a.0.w"})

    assert pairs(look(path), "metadata") == [("c.w", "a.0.w")]
    assert pairs(look(path), "manifest") == []


def test_chains_lead_to_the_stored_leaf(tmp_path: Path) -> None:
    """However many names lie between; rings lead nowhere."""
    path = plain(tmp_path, {"x": "y", "y": "z.w", "z.w": "a.0.w", "p.w": "q.w", "q.w": "p.w"})
    subject = look(path)

    assert set(pairs(subject, "metadata")) == {("x", "a.0.w"), ("y", "a.0.w"), ("z.w", "a.0.w")}
    assert [set(ring) for ring in subject.aliases.cycles] == [{"p.w", "q.w"}]


def test_the_index_speaks_too(tmp_path: Path) -> None:
    """huggingface_hub writes the pairs there."""
    write_shards(tmp_path, dict(zip(SHARDS, ({EMBED: ("F32", (2,))}, {"a.w": ("F32", (3,))}), strict=True)))
    document = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))
    document["metadata"] |= {HEAD: EMBED, "total_parameters": 5, "list": [1]}
    write_json(tmp_path / INDEX, document)

    assert look(tmp_path).aliases.places == {(HEAD, EMBED): (INDEX,)}


@pytest.mark.parametrize(
    "metadata",
    [
        {"modelspec.title": "my.merge"},
        {"version": "1.0.0"},
        {"lm head.weight": "embed tokens.weight"},
        {"config.w": "see a.0.w"},
        {"total_size": "a.0.w"},
        {"a.w": "x" * 2000 + ".w"},
    ],
    ids=str,
)
def test_other_strings_are_no_aliases(tmp_path: Path, metadata: dict[str, str]) -> None:
    """Names alone could be anything; those of leaves look alike."""
    assert look(plain(tmp_path, metadata)).aliases.pairs == ()


def test_a_name_that_shards_give_two_targets(tmp_path: Path) -> None:
    """Both are told; the first counts."""
    for name, target in zip(SHARDS, ("a.0.w", "a.1.w"), strict=True):
        write_file(tmp_path / name, {f"{name[:8]}.w": ("F32", (2,)), target: ("F32", (3,))}, {"c.w": target})
    aliases = look(tmp_path).aliases

    assert set(aliases.places) == {("c.w", "a.0.w"), ("c.w", "a.1.w")}
    assert aliases.targets == {"c.w": "a.0.w"}


def test_a_long_chain_is_followed_once() -> None:
    """So many names in one ring take no time to speak of."""
    count = 100_000
    names = [f"n{number}" for number in range(count)]
    aliases = Aliases(frozenset(), {(name, names[(at + 1) % count]): () for at, name in enumerate(names)})

    (ring,) = aliases.cycles
    assert len(ring) == count
    assert aliases.find_root("n0") in ring


def test_names_are_all_known_or_not(tmp_path: Path) -> None:
    """Only of whole sets of shards whose headers can be read."""
    leaves: list[dict[str, Leaf]] = [{"a.w": ("F32", (2,))}, {"b.w": ("F32", (3,))}]
    write_shards(tmp_path / "whole", dict(zip(SHARDS, leaves, strict=True)))
    write_shards(tmp_path / "lacking", dict(zip(SHARDS, leaves, strict=True)))
    (tmp_path / "lacking" / SHARDS[1]).unlink()
    write_file(tmp_path / "numbered" / SHARDS[0], leaves[0])
    write_shards(tmp_path / "pointer", dict(zip(SHARDS, leaves, strict=True)))
    (tmp_path / "pointer" / SHARDS[0]).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")

    known = {path.name: knows_all_names(look(path)) for path in tmp_path.iterdir()}

    assert known == {"whole": True, "lacking": False, "numbered": False, "pointer": False}
