"""Lookalikes: files that are given in place of safetensors, told by their first bytes."""

from __future__ import annotations

import re

from tiecli.errors import CheckpointNotFoundError, LfsPointerError

_TORCH = "Convert it in Python: `safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT)`."

_POINTER = b"version https://git-lfs.github.com/spec/"

# What the text of a header may begin with.
_OPENINGS = (b"{", b" ", b"\n", b"\r", b"\t")

# First bytes, what they betray, and what to do about it.
_MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive, as `torch.save` and `numpy.savez` write it", _TORCH),
    (b"\x80\x02", "a Python pickle, as `torch.save` writes it", _TORCH),
    (b"\x80\x03", "a Python pickle", _TORCH),
    (b"\x80\x04", "a Python pickle", _TORCH),
    (b"\x80\x05", "a Python pickle", _TORCH),
    (b"GGUF", "a GGUF file, as llama.cpp writes it", "Give the safetensors checkpoint that it was made from."),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes it",
        "Save the weights as safetensors instead.",
    ),
    (b"\x93NUMPY", "a single numpy array", "Save a dict of arrays with `safetensors.numpy.save_file`."),
    (b"\x1f\x8b", "gzip-compressed", "Unpack it with `gunzip` first."),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "Unpack it with `unzstd` first."),
    (b"<!DOCTYPE", "a web page", "The download probably met a login or error page; download it again."),
    (b"<html", "a web page", "The download probably met a login or error page; download it again."),
)


def name_lookalike(start: bytes) -> tuple[str, str] | None:
    r"""Names what the first bytes of a file look like, and the hint that goes with it.

    Example:
        >>> name_lookalike(b"GGUF\x03")[0]
        'a GGUF file, as llama.cpp writes it'
    """
    for mark, what, hint in _MARKS:
        if start.startswith(mark):
            # A header of 640 bytes begins like a pickle; what follows its length tells them apart.
            return None if start[4:8] == bytes(4) and start[8:9] in _OPENINGS else (what, hint)
    # A JSON text would state a header of many exabytes, so nothing valid is lost.
    if re.match(rb"\s*[{\[]\s*(\"|\}|\]|$)", start) and start[7:8] not in (b"\x00", b""):
        return "JSON text", "Give the `.safetensors` file itself, or the directory that holds it."
    if len(start) > 8 and not start.strip(b"\0"):
        return "nothing but zero bytes at its start", "The download was probably cut short; download it again."
    return None


def read_pointer(start: bytes) -> int | None:
    r"""Gives the size of the file that a Git LFS pointer stands for; None if it does not say.

    Example:
        >>> read_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 42\n")
        42
    """
    size = re.search(rb"^size (\d{1,29})$", start, re.MULTILINE)
    return int(size[1]) if size else None


def refuse_lookalike(start: bytes, name: str) -> None:
    """Refuses a file whose first bytes belong to something else.

    Raises:
        LfsPointerError: It is a Git LFS pointer.
        CheckpointNotFoundError: It is some other known format.
    """
    if start.startswith(_POINTER):
        size = read_pointer(start)
        told = "" if size is None else f" to {size:,} bytes"
        raise LfsPointerError(
            f"`{name}` is a Git LFS pointer{told}, not the file itself", "Fetch it with `git lfs pull`."
        )
    found = name_lookalike(start)
    if found:
        raise CheckpointNotFoundError(f"`{name}` is {found[0]}, expected safetensors", found[1])
