"""Names: what a leaf of one format is called in the other, so that it can always be called back."""

from __future__ import annotations

from tiecli.errors import ConversionError, KeyPathSyntaxError
from tiecli.keypaths import KeyPath

# The one name that a safetensors header keeps for itself.
_RESERVED = "__metadata__"


def to_name(path: KeyPath) -> KeyPath:
    """Gives a leaf of a tree the name it has in a safetensors file: the exact text form of its keys.

    Args:
        path: Where it stands in the tree.

    Returns:
        The name, split at its dots as the names of such files are.

    Raises:
        ConversionError: No leaf may have that name.

    Example:
        >>> to_name(KeyPath(("layers", 0, "w"))).spelling
        'layers[0].w'
        >>> to_name(KeyPath(("a.b", "w"))).spelling
        '"a.b".w'
    """
    name = str(path)
    if name == _RESERVED:
        raise ConversionError(
            f"`{name}` is what safetensors calls its metadata, so that no leaf can have that name",
            "Put the leaf into a dict, or rename it, in the program that saves.",
        )
    return KeyPath.from_name(name)


def to_path(name: KeyPath) -> KeyPath:
    """Gives a leaf of a safetensors file its place in a tree: that of which its name is the exact text form.

    Raises:
        ConversionError: The name is the text form of no place, so that nobody could tell it again from the place.

    Example:
        >>> to_path(KeyPath.from_name("layers[0].w")).keys
        ('layers', 0, 'w')
        >>> to_path(KeyPath.from_name("h.0.w")).keys
        ('h', '0', 'w')
    """
    text = name.spelling
    try:
        path = KeyPath.parse(text)
    except KeyPathSyntaxError as error:
        _, _, reason = error.message.rpartition(": ")
        raise ConversionError(f"the name `{text}` is no place in a tree: {reason}", *error.hints) from error
    if str(path) != text:
        raise ConversionError(
            f"the name `{text}` is no exact place in a tree: `{path}` would be",
            f"Rename the leaf to `{path}`; see docs/key-paths.md, exact form.",
        )
    return path
