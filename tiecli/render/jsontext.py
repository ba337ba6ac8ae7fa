"""JSON as text: documents that hold whatever the names of files and leaves hold."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

# A terminal obeys some of these, readers of lines split at others, and no UTF-8 spells the last.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def encode_json(document: Mapping[str, object] | Sequence[object], indent: int | None = None) -> str:
    r"""Spells a document as JSON, readable where it can be; what is no text is escaped.

    Args:
        document: What to spell.
        indent: Spaces a level; None for one line.

    Example:
        >>> print(encode_json({"größe": chr(0x9B) + chr(0xDCFF)}))
        {"größe": "\u009b\udcff"}
    """
    # `dump` would go piece by piece through Python; `dumps` is one call into C.
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    return text if text.isascii() and "\x7f" not in text else _UNSAFE.sub(lambda c: f"\\u{ord(c[0]):04x}", text)
