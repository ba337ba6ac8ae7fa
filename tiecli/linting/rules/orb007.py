"""ORB007: an array in the store that the tree does not list."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tiecli.checkpoints.orbax.directories import TREE
from tiecli.checkpoints.orbax.documents import describe_leaf, entry_key
from tiecli.checkpoints.survey.orbaxstores import StoredLeaf
from tiecli.keypaths import KeyPath
from tiecli.linting.edits import SetMember
from tiecli.linting.orbaxitems import ENTRIES, ReadItem, list_read
from tiecli.linting.rule import Finding, Fix, Rule
from tiecli.linting.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Yields one finding an array."""
    for read in list_read(subject):
        if len(read.store.leaves) == sum(leaf is not None for _, leaf in read.arrays()):
            continue
        named = _list_names(read)
        # An array whose own description is damaged was left out for that.
        strays = [name for name, leaf in read.store.leaves.items() if not leaf.problem and not _belongs(name, named)]
        places = _Places(read)
        for name in strays:
            leaf = read.store.leaves[name]
            what = f" {leaf.metadata.spec}" if leaf.metadata is not None else ""
            yield Finding(
                f"The store holds `{name}`{what}, `{TREE}` does not; restoring drops it silently.",
                (name,),
                read.metadata_file,
                fix=places.make_fix(name, leaf),
                hint="Ask whoever edited the checkpoint; if the leaf is needed, list it in the tree again.",
            )


def _list_names(read: ReadItem) -> frozenset[str]:
    """Lists the names of all places of the tree, those without arrays included."""
    entries = read.tree.document[ENTRIES].values()
    return frozenset(".".join(part["key"] for part in entry["key_metadata"]) for entry in entries)


def _belongs(name: str, named: frozenset[str]) -> bool:
    """Whether an array is a leaf, or lies below one: a type that a program made up may store several."""
    parts = name.split("/")
    return any("/".join(parts[:count]) in named for count in range(1, len(parts) + 1))


class _Places:
    """What tells where in the tree an array of some name has its place."""

    def __init__(self, read: ReadItem) -> None:
        self._read = read
        self._leaves: set[tuple[str, ...]] = set()
        self._kinds: dict[tuple[str, ...], set[type]] = {}
        self._plain = not read.is_rich
        for node in read.tree.nodes:
            keys = tuple(map(str, node.path.keys))
            self._leaves.add(keys)
            self._plain = self._plain and not any("." in key for key in keys)
            for at, key in enumerate(node.path.keys):
                self._kinds.setdefault(keys[:at], set()).add(type(key))

    def make_fix(self, name: str, leaf: StoredLeaf) -> Fix | None:
        """Makes the fix that lists an array as a leaf; None where its name leaves its place open."""
        keys = tuple(name.split("."))
        if not self._plain or leaf.metadata is None or not all(map(self._is_plain, self._prefixes(keys), keys)):
            return None
        path = KeyPath(keys)
        # A numpy array to Orbax, for which no file needs to say how it was spread over devices.
        edit = SetMember(self._read.metadata_file, (ENTRIES,), entry_key(path), json.dumps(describe_leaf(path)))
        return Fix(f"list `{path.spelling}` in `{self._read.metadata_file}`", (edit,), safe=True)

    @staticmethod
    def _prefixes(keys: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        return (keys[:at] for at in range(len(keys)))

    def _is_plain(self, above: tuple[str, ...], key: str) -> bool:
        """Whether a key below others can only be that of a mapping."""
        kinds = self._kinds.get(above)
        if above in self._leaves or not key:
            return False
        return kinds == {str} if kinds is not None else not key.isdigit()


RULE = Rule(
    code="ORB007",
    name="array-without-leaf",
    severity="error",
    needs=("header",),
    formats=("orbax",),
    cure="safe",
    check=check,
    what="""\
The store holds an array that `_METADATA` does not list. Arrays below the name of a leaf are passed over: a type that a
program made up may store several. Looked for in the latest step, and in the latest whole one; lint the directory of
another step to have that looked into.""",
    why="""\
Restoring succeeds and leaves the array out, without a word. Where the model needs it and restores in part, it keeps
what it was initialised with: the run goes on with one random layer. An edit of `_METADATA` by hand, or a script that
merged two checkpoints and forgot one side, leaves this behind.""",
    mend="""\
Safe where the name leaves no doubt about the place: the leaf is listed again, as an array that any device can take.
A dot in a name may part two keys or belong to one, and a number may be a key or an index; where the rest of the tree
does not settle that, or the tree has rich types, there is no fix.""",
    bad="""\
_METADATA   params.embed.embedding
store       params.embed.embedding/.zarray  params.head.kernel/.zarray""",
    good="""\
_METADATA   params.embed.embedding  params.head.kernel
store       params.embed.embedding/.zarray  params.head.kernel/.zarray""",
)
