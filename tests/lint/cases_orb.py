"""Cases of the ORB rules: layouts as stock Orbax wrote them, spoilt in one way each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.orbax_damages import (
    DRAFT,
    EMBED,
    ENTRY,
    FIXTURES,
    cut,
    describe,
    each,
    edit,
    find_files,
    find_node,
    flip,
    on_tree,
    put_inline,
    rewrite,
)
from tests.lint.building import Case
from tiecli.checkpoints.ocdbt.database import Value

Act = Callable[[Path], object]
STEPS = ("step_00000090", "step_00000100")
HEAD = "params.decoder.logits_dense.kernel"
NORM = ENTRY.replace("'token_embedder', 'embedding'", "'decoder', 'decoder_norm', 'scale'")


def spoil(layout: str, *acts: Act, within: str = "") -> Callable[[Path], Path]:
    """Copies a layout and does something to it, or to a directory in it."""

    def build(directory: Path) -> Path:
        path = Path(shutil.copytree(FIXTURES / layout, directory / "ckpt"))
        for act in acts:
            act(path / within)
        return path

    return build


def make(*names: str) -> Act:
    """Makes directories."""

    def act(path: Path) -> None:
        for name in names:
            (path / name).mkdir(parents=True)

    return act


def remove(*names: str) -> Act:
    """Removes files and directories."""

    def act(path: Path) -> None:
        for name in names:
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            else:
                (path / name).unlink()

    return act


def copy(old: str, new: str) -> Act:
    """Copies a directory within the checkpoint."""
    return lambda path: shutil.copytree(path / old, path / new)


def drop_keys(*keys: str) -> Act:
    """Takes keys out of the database."""
    return lambda item: rewrite(item, lambda values: [values.pop(key) for key in keys])


def add_key(name: str, like: str = EMBED) -> Act:
    """Stores an array once more, under another name."""

    def change(values: dict[str, Value]) -> None:
        values.update({f"{name}/{part}": values[f"{like}/{part}"] for part in (".zarray", "0.0")})

    return lambda item: rewrite(item, change)


def on_entry(entry: str, **changes: Any) -> Act:
    """Changes what `_METADATA` says of a leaf."""
    return on_tree(lambda tree: tree["tree_metadata"][entry]["value_metadata"].update(changes))


def on_flags(**flags: Any) -> Act:
    """Changes members of `_METADATA`."""
    return on_tree(lambda tree: tree.update(flags))


def never_ended(step: Path) -> None:
    """Lets the metadata of a step say that its save began, and nothing else."""
    edit(step / "_CHECKPOINT_METADATA", lambda document: document.update(commit_timestamp_nsecs=None))


def widen(item: Path) -> None:
    """Lets the array of the embedding have twice as many rows as there are chunks for."""
    raw = dict(_values(item))[f"{EMBED}/.zarray"].inline.replace(b'shape":[32,', b'shape":[64,')
    put_inline(item, f"{EMBED}/.zarray", raw)


def _values(item: Path) -> dict[str, Value]:
    found: dict[str, Value] = {}
    rewrite(item, found.update)
    return found


def leave_out_zeros(item: Path) -> None:
    """Says that chunks of zeros are left out, and leaves one out."""
    drop_keys(f"{EMBED}/0.0")(item)
    on_flags(store_array_data_equal_to_fill_value=False)(item)


def age(item: Path) -> None:
    """Gives an item the `_METADATA` of an older Orbax: no flags, no shapes; one chunk was zeros."""

    def change(tree: dict[str, Any]) -> None:
        for flag in ("use_ocdbt", "use_zarr3", "store_array_data_equal_to_fill_value"):
            tree.pop(flag)
        for entry in tree["tree_metadata"].values():
            entry["value_metadata"].pop("write_shape", None)

    on_tree(change)(item)
    drop_keys(f"{EMBED}/0.0")(item)


def mask(item: Path) -> None:
    """Lists a place without a value, and a leaf of a type that a program made up, which stores two arrays."""
    masked = describe(("params", "frozen"), "None")
    masked["value_metadata"]["skip_deserialize"] = True
    made_up = {"('params', 'frozen')": masked, "('params', 'packed')": describe(("params", "packed"), "Packed")}
    on_tree(lambda tree: tree["tree_metadata"].update(made_up))(item)
    add_key("params.packed/codes")(item)
    add_key("params.packed/scales")(item)


def state_pieces(*shape: int) -> Act:
    """Changes the shape of the pieces of the embedding."""
    return on_entry(ENTRY, write_shape=list(shape))


unjoined = remove("manifest.ocdbt", "d")

CASES: list[Case] = [
    Case("ORB001", "save-of-a-step", spoil("named-steps", make("step_00000110.orbax-checkpoint-tmp/default/d")), True),
    Case("ORB001", "save-of-an-item", spoil("items", make("2/ema.orbax-checkpoint-tmp/d")), True, says=("`2/ema.",)),
    Case(
        "ORB001",
        "name-with-a-time",
        spoil("v1-training", make("5.orbax-checkpoint-tmp-1767225600/state")),
        True,
        says=("is an unfinished Orbax save.",),
    ),
    Case(
        "ORB001",
        "all-of-it",
        lambda tmp: Path(shutil.copytree(FIXTURES / "pytree", tmp / "7.orbax-checkpoint-tmp")),
        True,
        says=("`7.orbax-checkpoint-tmp` is an unfinished",),
    ),
    Case("ORB001", "stage-of-ours", spoil("named-steps", make(".tiecli-tmp-step_00000110-ab12/default")), False),
    Case("ORB001", "other-directories", spoil("named-steps", make("logs/tmp", "tmp", "checkpoint-tmp")), False),
    Case(
        "ORB002",
        "one-of-two",
        spoil("named-steps", remove(f"{STEPS[1]}/commit_success.txt")),
        True,
        says=("Step 100 has no `commit_success.txt`, while step 90 has one.",),
    ),
    Case(
        "ORB002",
        "never-ended",
        spoil("v1-training", remove("3/commit_success.txt"), lambda path: never_ended(path / "3")),
        True,
    ),
    Case(
        "ORB002",
        "its-items-have-one",
        spoil("one-item-and-json", remove("1/commit_success.txt")),
        True,
        says=("Step 1 has no `commit_success.txt`, while its items have one.",),
    ),
    Case(
        "ORB002",
        "item-never-ended",
        spoil("pytree", remove("commit_success.txt"), never_ended),
        True,
        says=("but not when it ended.",),
    ),
    Case("ORB002", "step-alone", lambda tmp: spoil("v1-training", remove("3/commit_success.txt"))(tmp) / "3", True),
    Case(
        "ORB002",
        "no-step-has-one",
        spoil(
            "v1-training",
            remove(*(f"{step}/{at}commit_success.txt" for step in "13" for at in ("", "state/"))),
        ),
        False,
    ),
    Case(
        "ORB002",
        "items-without",
        spoil("named-steps", remove(*(f"{step}/default/commit_success.txt" for step in STEPS))),
        False,
    ),
    Case("ORB002", "item-alone", spoil("pytree", remove("commit_success.txt")), False),
    Case(
        "ORB003",
        "after-the-last",
        spoil("v1-training", make("4")),
        True,
        says=("Step 4 is empty but will be picked as the latest.",),
    ),
    Case(
        "ORB003",
        "only-empty-directories",
        spoil("named-steps", make("step_00000095/default")),
        True,
        says=("Step 95 is",),
    ),
    Case("ORB003", "nothing-else", lambda tmp: (make("ckpt/1", "ckpt/2/default")(tmp), tmp / "ckpt")[1], True),
    Case("ORB003", "not-named-as-a-step", spoil("v1-training", make("logs", "best")), False),
    Case("ORB003", "other-prefix", spoil("v1-training", make("eval_4", "run_5")), False),
    Case("ORB003", "digits-beside-a-prefix", spoil("named-steps", make("2024")), False),
    Case("ORB004", "gone", spoil("pytree", remove("_METADATA")), True, says=("`_METADATA` is missing",)),
    Case("ORB004", "gone-in-files", spoil("files-zarr3", remove("_METADATA")), True),
    Case(
        "ORB004",
        "gone-in-an-older-step",
        spoil("named-steps", remove(f"{STEPS[0]}/default/_METADATA")),
        True,
        says=("`step_00000090/default/_METADATA` is missing",),
    ),
    Case("ORB004", "cut", spoil("standard", lambda item: cut(item / "_METADATA")), True, says=("not JSON, or is cut",)),
    Case(
        "ORB004", "zero-bytes", spoil("items", lambda path: (path / "2/params/_METADATA").write_bytes(bytes(99))), True
    ),
    Case("ORB004", "no-object", spoil("v1", lambda path: (path / "state/_METADATA").write_text("[]")), True),
    Case(
        "ORB004",
        "two-leaves-of-one-name",
        spoil(
            "pytree",
            on_tree(
                lambda tree: tree["tree_metadata"].update(
                    {"('params', 'token_embedder.embedding')": describe(("params", "token_embedder.embedding"))}
                )
            ),
        ),
        True,
        says=("are both stored as",),
    ),
    Case(
        "ORB004",
        "empty-item",
        spoil("items", remove("2/opt_state"), make("2/opt_state")),
        True,
        says=("`2/opt_state` is empty",),
    ),
    Case("ORB004", "json-item", spoil("one-item-and-json"), False),
    Case("ORB004", "deleted-item", spoil("items", remove("2/opt_state")), False),
    Case("ORB004", "empty-directory-of-no-item", spoil("items", make("2/plots")), False),
    Case("ORB004", "nodes-without-arrays", spoil("nodes"), False),
    Case(
        "ORB005",
        "two-processes",
        spoil("two-processes", unjoined),
        True,
        says=("`ckpt` is marked OCDBT but has no top `manifest.ocdbt`; 2 per-process parts exist.",),
    ),
    Case(
        "ORB005",
        "one-process-lost",
        spoil("two-processes", unjoined, remove("ocdbt.process_1")),
        True,
        says=("in none.",),
    ),
    Case("ORB005", "older-step", spoil("named-steps", remove(f"{STEPS[0]}/default/manifest.ocdbt")), True),
    Case("ORB005", "no-database-at-all", spoil("pytree", unjoined, remove("ocdbt.process_0")), True),
    Case(
        "ORB005",
        "manifest-cut",
        spoil("raw", lambda item: cut(item / "manifest.ocdbt")),
        True,
        says=("cannot be read",),
    ),
    Case("ORB005", "node-flipped", spoil("raw", lambda item: flip(find_node(item), 100)), True, says=("checksum",)),
    Case(
        "ORB005", "node-gone", spoil("raw", lambda item: find_node(item).unlink()), True, says=("is missing: a node",)
    ),
    Case(
        "ORB005",
        "process-manifests-gone",
        spoil("two-processes", remove(*(f"ocdbt.process_{n}/manifest.ocdbt" for n in "01"))),
        False,
    ),
    Case("ORB005", "files-need-none", spoil("files-zarr2"), False),
    Case("ORB005", "older-orbax-does-not-say", spoil("pytree", on_flags(use_ocdbt=None)), False),
    Case("ORB005", "no-arrays-no-database", lambda tmp: write_texts(tmp / "ckpt"), False),
    Case(
        "ORB006",
        "array-gone",
        spoil("pytree", drop_keys(f"{EMBED}/.zarray")),
        True,
        says=(f"`_METADATA` lists `{EMBED}`, the store has no array for it.",),
    ),
    Case("ORB006", "leaf-gone", spoil("pytree", drop_keys(f"{EMBED}/.zarray", f"{EMBED}/0.0")), True),
    Case("ORB006", "directory-gone", spoil("files-zarr2", remove(HEAD)), True),
    Case("ORB006", "array-not-json", spoil("pytree", lambda item: put_inline(item, f"{EMBED}/.zarray", b"{x}")), True),
    Case("ORB006", "array-empty-file", spoil("files-zarr3", lambda item: cut(item / EMBED / "zarr.json", 0)), True),
    Case(
        "ORB006",
        "all-directories-gone",
        spoil("files-zarr2", lambda item: remove(*(file.parent.name for file in item.glob("*/.zarray")))(item)),
        True,
        says=("10 leaves",),
    ),
    Case(
        "ORB006",
        "entry-of-a-stranger",
        spoil("pytree", on_tree(lambda tree: tree["tree_metadata"].update({"('a',)": describe(("a",))}))),
        True,
    ),
    Case("ORB006", "places-without-arrays", spoil("nodes"), False),
    Case("ORB006", "masked-and-made-up", spoil("pytree", mask), False),
    Case(
        "ORB006",
        "unknown-codec",
        spoil(
            "pytree",
            lambda item: put_inline(
                item, f"{EMBED}/.zarray", dict(_values(item))[f"{EMBED}/.zarray"].inline.replace(b'"zstd"', b'"blosc"')
            ),
        ),
        False,
    ),
    Case(
        "ORB007",
        "entry-gone",
        spoil("pytree", on_tree(lambda tree: tree["tree_metadata"].pop(ENTRY))),
        True,
        says=(f"The store holds `{EMBED}` F32 32×16, `_METADATA` does not",),
    ),
    Case("ORB007", "one-more-array", spoil("pytree", add_key("params.adapter.kernel")), True),
    Case("ORB007", "one-more-directory", spoil("files-zarr2", copy(EMBED, "params.adapter.kernel")), True),
    Case("ORB007", "made-up-types", spoil("pytree", mask), False),
    Case("ORB007", "names-with-slashes", spoil("odd-names"), False),
    Case(
        "ORB007",
        "other-files-beside-leaves",
        spoil("files-zarr2", make("notes"), lambda item: (item / "notes/readme.md").write_text("x")),
        False,
    ),
    Case(
        "ORB008",
        "too-long",
        spoil("pytree", state_pieces(64, 16)),
        True,
        says=("`_METADATA` states pieces of [64, 16], the array is [32, 16] in chunks of [32, 16].",),
    ),
    Case("ORB008", "other-number-of-axes", spoil("pytree", state_pieces(512)), True),
    Case(
        "ORB008", "no-whole-chunks", spoil("sharded-zarr3", on_entry("('wte', 'embedding')", write_shape=[12, 8])), True
    ),
    Case("ORB008", "no-shape", spoil("pytree", on_entry(ENTRY, write_shape="[32, 16]")), True),
    Case("ORB008", "pieces-of-devices", spoil("two-processes"), False),
    Case("ORB008", "pieces-of-several-chunks", spoil("many-chunks-zarr3"), False),
    Case(
        "ORB008",
        "whole-array-in-small-chunks",
        spoil("two-processes", on_entry("('wte', 'embedding')", write_shape=[32, 16])),
        False,
    ),
    Case(
        "ORB008",
        "none-stated",
        spoil("pytree", on_tree(lambda tree: tree["tree_metadata"][ENTRY]["value_metadata"].pop("write_shape"))),
        False,
    ),
    Case(
        "ORB009",
        "key-gone",
        spoil("pytree", drop_keys(f"{EMBED}/0.0")),
        True,
        says=(f"`{EMBED}`: chunk `0.0` is missing.",),
    ),
    Case(
        "ORB009", "file-gone", spoil("files-zarr3", remove(f"{EMBED}/c/0/0")), True, says=("chunk `c/0/0` is missing",)
    ),
    Case("ORB009", "larger-than-its-chunks", spoil("pytree", widen), True, says=("chunk `1.0` is missing",)),
    Case("ORB009", "empty-chunk", spoil("files-zarr2", lambda item: cut(item / EMBED / "0.0", 0)), True),
    Case(
        "ORB009",
        "raw-chunk-cut",
        spoil("raw", lambda item: put_inline(item, f"{EMBED}/0.0", bytes(99))),
        True,
        says=("99 bytes, expected 2,048",),
    ),
    Case(
        "ORB009",
        "data-file-gone",
        spoil("pytree", each(find_files, Path.unlink)),
        True,
        says=("is missing: chunks of",),
    ),
    Case("ORB009", "data-file-cut", spoil("pytree", each(find_files, cut)), True, says=("is cut short",)),
    Case("ORB009", "zeros-left-out", spoil("pytree", leave_out_zeros), False),
    Case("ORB009", "older-orbax-left-zeros-out", spoil("pytree", age), False),
    Case(
        "ORB009",
        "one-chunk-for-two-leaves",
        spoil(
            "pytree", lambda item: rewrite(item, lambda values: values.update({f"{DRAFT}/0.0": values[f"{EMBED}/0.0"]}))
        ),
        False,
    ),
    Case(
        "ORB010",
        "zarr3-it-says",
        spoil("pytree", on_flags(use_zarr3=True)),
        True,
        says=("`_METADATA` says zarr3=true, the store holds zarr2.",),
    ),
    Case("ORB010", "zarr2-it-says", spoil("v1", lambda path: on_flags(use_zarr3=False)(path / "state")), True),
    Case("ORB010", "no-database-it-says", spoil("pytree", on_flags(use_ocdbt=False)), True, says=("use_ocdbt=false",)),
    Case("ORB010", "a-database-it-says", spoil("files-zarr2", on_flags(use_ocdbt=True)), True),
    Case(
        "ORB010",
        "it-does-not-say",
        spoil("pytree", on_tree(lambda tree: [tree.pop(flag) for flag in ("use_ocdbt", "use_zarr3")])),
        False,
    ),
    Case(
        "ORB010",
        "files-it-does-not-say",
        spoil("files-zarr2", on_tree(lambda tree: [tree.pop(flag) for flag in ("use_ocdbt", "use_zarr3")])),
        False,
    ),
    Case("ORB010", "zarr3", spoil("files-zarr3"), False),
]


def write_texts(path: Path) -> Path:
    """Writes an item that holds a text and nothing else, for which Orbax begins no database."""
    path.mkdir()
    tree = {"tree_metadata": {"('name',)": describe(("name",), "string")}, "use_ocdbt": True, "use_zarr3": False}
    (path / "_METADATA").write_text(json.dumps(tree))
    (path / "_strings.json").write_text('{"name": "tied"}')
    return path
