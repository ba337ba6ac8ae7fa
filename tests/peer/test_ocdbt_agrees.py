"""tensorstore and tiecli read the same keys and values in each other's databases."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiecli.checkpoints.ocdbt.database import Value, read_database
from tiecli.checkpoints.ocdbt.writing import encode_database
from tiecli.errors import DatabaseError, UnsupportedCheckpointError

# As orbax-checkpoint 0.12.8 opens its databases.
ORBAX = {"max_inline_value_bytes": 1024, "max_decoded_node_bytes": 100_000_000, "manifest_kind": "single"}

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def tensorstore() -> Any:
    """The library tensorstore, or skip."""
    return pytest.importorskip("tensorstore", reason="tensorstore comes with the extra `peer`")


@pytest.fixture
def connect(tensorstore: Any) -> Open:
    """Opens a database in tensorstore."""

    def connect_store(directory: Path, **members: Any) -> Any:
        spec = {"driver": "ocdbt", "base": f"file://{directory}/", **members}
        return tensorstore.KvStore.open(spec).result()

    return connect_store


@pytest.fixture
def root_height(tensorstore: Any) -> Callable[[Path], int]:
    """Asks tensorstore how high the tree of the newest version is."""

    def ask(directory: Path) -> int:
        base = tensorstore.KvStore.open(f"file://{directory}/").result()
        return int(tensorstore.ocdbt.dump(base).result()["versions"][-1]["root_height"])

    return ask


def fetch(store: Any) -> dict[str, bytes]:
    """Every key of a tensorstore database with its value, in order."""
    return {key.decode(): store[key] for key in sorted(store.list().result())}


def resolve(directory: Path) -> dict[str, bytes]:
    """Every key that tiecli finds in a database with its value, in order."""
    values = {}
    for key, value in read_database(directory, "ckpt").values.items():
        stored = (directory / value.file).read_bytes()[value.offset :] if value.file else value.inline
        values[key] = stored[: value.nbytes]
        assert len(values[key]) == value.nbytes
    return values


def lay_out(directory: Path, contents: Mapping[str, bytes], node_bytes: int = 100_000_000) -> Path:
    """Writes a database by tiecli: short values inline, others in three files, two of them a level deeper."""
    files = ["d/00", "ocdbt.process_0/d/01", "ocdbt.process_1/d/02"]
    raws = {file: bytearray(b"what no key refers to") for file in files}
    values = {}
    for number, (key, content) in enumerate(contents.items()):
        file = files[number % 3]
        if len(content) > 20:
            values[key] = Value(file, len(raws[file]), len(content))
            raws[file] += content
        else:
            values[key] = Value("", 0, len(content), content)
    encoded = encode_database(values, node_bytes)
    for name, raw in {"manifest.ocdbt": encoded.manifest, encoded.node_file: encoded.nodes, **raws}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(raw)
    return directory


def draw_contents(count: int, seed: int = 0) -> dict[str, bytes]:
    """Keys as Orbax makes them, and values of many lengths."""
    chance = random.Random(seed)
    contents = {}
    for number in range(count):
        name = f"{chance.choice(['params', 'opt_state', 'ema'])}.layers_{chance.randrange(40)}.{number:x}"
        contents[f"{name}/.zarray"] = b'{"shape":[%d]}' % number
        contents[f"{name}/0.{chance.randrange(3)}"] = chance.randbytes(chance.choice([0, 1, 19, 20, 21, 200, 3000]))
    return dict(sorted(contents.items(), key=lambda item: item[0].encode()))


@pytest.mark.parametrize(
    ("count", "node_bytes", "height"), [(0, 1, 0), (1, 1, 1), (300, 100_000_000, 0), (300, 12_000, 1), (300, 600, 3)]
)
def test_tensorstore_reads_ours(
    tmp_path: Path, connect: Open, root_height: Callable[[Path], int], count: int, node_bytes: int, height: int
) -> None:
    """Every key and every value, in trees of every height."""
    contents = draw_contents(count)
    directory = lay_out(tmp_path, contents, node_bytes)

    assert fetch(connect(directory)) == contents
    assert resolve(directory) == contents
    assert root_height(directory) == height


@pytest.mark.parametrize("node_bytes", [100_000_000, 60])
def test_odd_keys(tmp_path: Path, connect: Open, node_bytes: int) -> None:
    """Keys with zero bytes, slashes, other scripts, prefixes of each other, and of the greatest length."""
    keys = [
        "",
        "\0",
        "\0\0",
        "/",
        "//",
        "a",
        "a.",
        "a.b/0.0",
        "a/b/c/0",
        "a\0",
        "é",
        "ключ/0",
        "😀/.zarray",
        "z" * 65535,
    ]
    contents = {key: key.encode()[:30] for key in keys}
    directory = lay_out(tmp_path, contents, node_bytes)

    assert fetch(connect(directory)) == contents
    assert resolve(directory) == contents


def test_tensorstore_lists_prefixes(tmp_path: Path, connect: Open, tensorstore: Any) -> None:
    """Lookups go down the tree by its first keys and shared prefixes."""
    contents = draw_contents(300)
    store = connect(lay_out(tmp_path, contents, 900))

    for prefix in ("ema", "opt_state.layers_7.", "params.layers_3", "q"):
        wanted = tensorstore.KvStore.KeyRange(prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1))
        found = sorted(key.decode() for key in store.list(wanted).result())
        assert found == [key for key in contents if key.startswith(prefix)]
    assert store.read("params.layers_3").result().state == "missing"


@pytest.mark.parametrize("node_bytes", [100_000_000, 900])
def test_tensorstore_goes_on_writing(tmp_path: Path, connect: Open, node_bytes: int) -> None:
    """What Orbax would add, replace and delete in a database of ours is there for both."""
    contents = draw_contents(200)
    directory = lay_out(tmp_path, contents, node_bytes)
    store = connect(directory, config=ORBAX, assume_config=False)
    keys = list(contents)
    for key, content in ((keys[3], b"replaced"), ("a new one", b"x" * 5000), (keys[-1], None)):
        store.write(key, content).result()
        contents.pop(key, None)
        if content is not None:
            contents[key] = content

    assert fetch(connect(directory)) == contents == resolve(directory)
    assert list(resolve(directory)) == sorted(contents)


@pytest.mark.parametrize(
    ("config", "height"),
    [
        (ORBAX, 0),
        ({"compression": None}, 0),
        ({"compression": {"id": "zstd", "level": 19}, "max_inline_value_bytes": 0}, 0),
        ({"max_decoded_node_bytes": 500, "version_tree_arity_log2": 1}, 3),
        ({"max_decoded_node_bytes": 500, "compression": None, "max_inline_value_bytes": 1 << 20}, 3),
        ({"max_decoded_node_bytes": 1}, 5),
    ],
)
def test_we_read_tensorstores(
    tmp_path: Path, connect: Open, root_height: Callable[[Path], int], config: Mapping[str, Any], height: int
) -> None:
    """Compressed or not, in one node or hundreds."""
    contents = draw_contents(150)
    store = connect(tmp_path, config=config)
    for future in [store.write(key, content) for key, content in contents.items()]:
        future.result()

    assert resolve(tmp_path) == contents
    assert root_height(tmp_path) >= height


def test_we_read_the_newest_version(tmp_path: Path, connect: Open, tensorstore: Any) -> None:
    """Keys are added, replaced and deleted in forty versions, of which few stand in the manifest itself."""
    store = connect(tmp_path, config={"max_decoded_node_bytes": 300, "version_tree_arity_log2": 2})
    chance = random.Random(1)
    contents: dict[str, bytes] = {}
    for version in range(40):
        with tensorstore.Transaction(atomic=True) as transaction:
            writing = store.with_transaction(transaction)
            for _ in range(5):
                key = f"layers_{chance.randrange(30)}/{version % 3}"
                contents[key] = writing[key] = chance.randbytes(chance.randrange(300))
            for key in chance.sample(sorted(contents), len(contents) // 10):
                del contents[key]
                del writing[key]
        assert resolve(tmp_path) == contents
    assert len(contents) > 20

    store.delete_range(tensorstore.KvStore.KeyRange("", "")).result()
    assert resolve(tmp_path) == {}
    store["again"] = b"1"
    assert resolve(tmp_path) == {"again": b"1"}


def test_we_read_what_was_merged(tmp_path: Path, connect: Open, tensorstore: Any) -> None:
    """Orbax merges the databases of its processes by reference: names become relative to where they stood."""
    contents = {}
    context = tensorstore.Context()
    base = {"driver": "file", "path": f"{tmp_path}/"}
    parent = tensorstore.KvStore.open({"driver": "ocdbt", "base": base, "config": ORBAX}, context=context).result()
    transaction = tensorstore.Transaction(atomic=True)
    for process in range(3):
        child_base = {"driver": "file", "path": f"{tmp_path}/ocdbt.process_{process}/"}
        config = {"max_decoded_node_bytes": 500} if process else ORBAX
        spec = {"driver": "ocdbt", "base": child_base, "config": config}
        child = tensorstore.KvStore.open(spec, context=context).result()
        mine = {f"{process}.{key}": content for key, content in draw_contents(30, process).items()}
        for key, content in mine.items():
            child[key] = content
        contents |= mine
        child.experimental_copy_range_to(parent.with_transaction(transaction)).result()
    transaction.commit_sync()

    assert resolve(tmp_path) == contents == fetch(connect(tmp_path))
    files = {value.file for value in read_database(tmp_path, "ckpt").values.values() if value.file}
    assert {file.rpartition("/")[0] for file in files} == {f"ocdbt.process_{process}/d" for process in range(3)}


def test_we_read_separate_prefixes(tmp_path: Path, connect: Open) -> None:
    """Values and nodes can be kept in directories of other names."""
    contents = draw_contents(30)
    store = connect(tmp_path, value_data_prefix="ocdbt_data/", btree_node_data_prefix="ocdbt_meta/d/")
    for key, content in contents.items():
        store[key] = content

    assert resolve(tmp_path) == contents
    assert {value.file.split("/")[0] for value in read_database(tmp_path, "c").values.values()} == {"", "ocdbt_data"}


def test_numbered_manifests_are_refused(tmp_path: Path, connect: Open) -> None:
    """They are refused by name."""
    connect(tmp_path, config={"manifest_kind": "numbered"})["a"] = b"1"

    with pytest.raises(UnsupportedCheckpointError, match="is a numbered manifest"):
        read_database(tmp_path, "ckpt")


def test_both_refuse_the_same_damage(tmp_path: Path, connect: Open) -> None:
    """A bit flipped anywhere in manifest or node is noticed by both."""
    contents = draw_contents(3)
    for key, content in contents.items():
        connect(tmp_path, config=ORBAX)[key] = content
    node = max((tmp_path / "d").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    chance = random.Random(2)
    for path in (tmp_path / "manifest.ocdbt", node):
        raw = path.read_bytes()
        for _ in range(10):
            place = chance.randrange(len(raw))
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << chance.randrange(8)]) + raw[place + 1 :])
            ours = theirs = None
            with contextlib.suppress(DatabaseError):
                ours = resolve(tmp_path)
            with contextlib.suppress(ValueError):
                theirs = fetch(connect(tmp_path))
            assert ours == theirs
        path.write_bytes(raw)


@pytest.mark.parametrize("node_bytes", [100_000_000, 500])
def test_orbax_restores_from_ours(tmp_path: Path, node_bytes: int) -> None:
    """A checkpoint that Orbax saved restores the same after its database was written anew."""
    orbax = pytest.importorskip("orbax.checkpoint", reason="orbax-checkpoint comes with the extra `peer`")
    chance = np.random.default_rng(0)
    tree = {f"layer_{number}": {"kernel": chance.standard_normal((40, number + 1))} for number in range(30)}
    with orbax.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "ckpt", tree)
        encoded = encode_database(read_database(tmp_path / "ckpt", "ckpt").values, node_bytes)
        shutil.rmtree(tmp_path / "ckpt" / "d")
        for name, raw in {"manifest.ocdbt": encoded.manifest, encoded.node_file: encoded.nodes}.items():
            (tmp_path / "ckpt" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "ckpt" / name).write_bytes(raw)
        restored = checkpointer.restore(tmp_path / "ckpt")

    assert restored.keys() == tree.keys()
    for name, leaves in tree.items():
        np.testing.assert_array_equal(restored[name]["kernel"], leaves["kernel"])
