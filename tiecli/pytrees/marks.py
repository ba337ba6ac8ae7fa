"""Marks: what stands for a leaf while a person's function says which leaf it means, and turned how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiecli.errors import TiecliError, TreeError
from tiecli.keypaths import KeyPath
from tiecli.leaves import LeafSpec, find_dtype
from tiecli.pytrees.nodes import list_nodes
from tiecli.transforms import SAME, Transform, compose

Tree = Any


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A leaf of a tree, and what was done to it: `.T`, an index, `-`, `*` and their like make a transform.

    Attributes:
        path: Where the leaf stands.
        spec: What it is.
        transform: What was done to it so far.
    """

    path: KeyPath
    spec: LeafSpec
    transform: Transform = SAME

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, after what was done to it."""
        return self.transform.spec([self.spec]).shape

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def T(self) -> Mark:  # noqa: N802  # numpy's name
        """Its axes in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Mark:  # noqa: N802  # numpy's name
        """Its last two axes exchanged."""
        return self.transpose(*range(self.ndim - 2), self.ndim - 1, self.ndim - 2)

    def transpose(self, *axes: int) -> Mark:
        """Its axes in another order."""
        order = axes or tuple(reversed(range(self.ndim)))
        return self._then(f"transpose({','.join(map(str, order))})")

    def reshape(self, *shape: int) -> Mark:
        """Its elements in another shape."""
        return self._then(f"reshape({','.join(map(str, shape))})")

    def astype(self, dtype: Any) -> Mark:
        """Its elements in another dtype."""
        import numpy as np

        known = find_dtype(np.dtype(dtype).name)
        if known is None:
            raise TreeError(f"`{self.path.spelling}`: no leaf can be of dtype {dtype}")
        return self._then(f"cast({known.name.lower()})")

    def conj(self) -> Mark:
        """Its elements conjugated."""
        return self._then("conj")

    def __neg__(self) -> Mark:
        """Its elements negated."""
        return self._then("neg")

    def __mul__(self, factor: float) -> Mark:
        """Its elements scaled."""
        return self._then(f"scale({float(factor).hex()})")

    __rmul__ = __mul__

    def __getitem__(self, index: Any) -> Mark:
        """Some of its layers; slices and whole numbers only."""
        items = index if isinstance(index, tuple) else (index,)
        return self._then(f"[{', '.join(map(_spell_item, items))}]")

    def _then(self, step: str) -> Mark:
        return Mark(self.path, self.spec, compose(self.transform, Transform.parse(step)))


def follow(choose: Callable[[Tree], Any], tree: Tree, what: str) -> list[dict[KeyPath, Mark]]:
    """Asks a function which nodes of a tree it means.

    Args:
        choose: Takes the tree and gives one of its nodes, or a list or tuple of them; leaves may be turned.
        tree: Of arrays.
        what: What the function is called, for errors.

    Returns:
        The leaves of each node it gave, by their places within the node.

    Raises:
        TreeError: It does something that no transform describes, or gives no node of the tree.
    """
    from tiecli.transforms.arrays import array_spec

    leaves, structure = list_nodes(tree)
    marks = [Mark(path, array_spec(leaf)) if _is_array(leaf) else leaf for path, leaf in leaves.items()]
    try:
        found = choose(structure.unflatten(marks))
    except TiecliError:
        raise
    except Exception as error:
        raise TreeError(
            f"`{what}` cannot be followed: {type(error).__name__}: {error}",
            "It may pick nodes, and turn leaves by .T, indices, .reshape, .astype, - and *; "
            "say anything else as `transform`.",
        ) from error
    nodes = found if isinstance(found, list | tuple) and not hasattr(found, "_fields") else [found]
    marked = [{path: leaf for path, leaf in list_nodes(node)[0].items() if isinstance(leaf, Mark)} for node in nodes]
    if not all(marked):
        raise TreeError(f"`{what}` gives no leaf of the tree", "It gets the tree, and gives nodes of it.")
    return marked


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape") and find_dtype(leaf.dtype.name) is not None


def _spell_item(item: Any) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, slice):
        parts = ["" if bound is None else str(int(bound)) for bound in (item.start, item.stop)]
        return ":".join(parts) + ("" if item.step is None else f":{int(item.step)}")
    return str(int(item))
