"""Markup: HTML and SVG built so that no text can become a tag.

Names of leaves come from untrusted files. Whatever is given to `element` as a plain string
is escaped; only what `element` itself made stays as it is.
"""

from __future__ import annotations

from html import escape as escape_html

from tiecli.render.lines import escape

Attribute = str | int | float | bool

# Elements that have no end tag in HTML.
_VOID = frozenset({"br", "col", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *children: str, **attributes: Attribute) -> Markup:
    """Builds an element.

    Args:
        tag: Its name, which is ours and never comes from a file.
        children: What is in it; a plain string is escaped.
        attributes: `class_` is `class`, other underscores are hyphens; True is an attribute
            without a value, False none at all. Numbers are cut to hundredths.

    Example:
        >>> element("p", "<b>", class_="dim")
        '<p class="dim">&lt;b&gt;</p>'
    """
    head = "".join(_attribute(key, value) for key, value in attributes.items() if value is not False)
    if tag in _VOID:
        return Markup(f"<{tag}{head}>")
    return Markup(f"<{tag}{head}>{join(*children)}</{tag}>")


def join(*children: str) -> Markup:
    """Puts markup and plain strings, which are escaped, one after another."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children))


def mark_names(words: str) -> Markup:
    """Sets what stands between backticks as code.

    Example:
        >>> mark_names("`a<b` is not stored")
        '<code>a&lt;b</code> is not stored'
    """
    pieces = words.split("`")
    if len(pieces) % 2 == 0:  # A name has a backtick in it, and nobody knows where it ends.
        return text(words)
    return join(*(element("code", piece) if at % 2 else piece for at, piece in enumerate(pieces)))


def text(plain: str) -> Markup:
    r"""Escapes a text, control characters and those that turn its direction included.

    Example:
        >>> text("<" + chr(0x202E))
        '&lt;\\u202e'
    """
    return Markup(escape_html(escape(plain), quote=True))


def _attribute(key: str, value: Attribute) -> str:
    spelled = key.removesuffix("_").replace("_", "-")
    if value is True:
        return f" {spelled}"
    return f' {spelled}="{f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else text(str(value))}"'
