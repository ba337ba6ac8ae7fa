"""System calls that Python has no name for, on Linux; elsewhere they are refused as unsupported."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

# Source: Linux uapi, fs.h and fcntl.h.
_FICLONE = 0x40049409
_FICLONERANGE = 0x4020940D
_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
_WRITE_OUT = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    function = getattr(_libc, name, None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def rename_new(source: Path, target: Path) -> None:
    """Renames, and fails where something has the new name already."""
    _rename(source, target, _NOREPLACE)


def exchange(left: Path, right: Path) -> None:
    """Swaps two names in one step."""
    _rename(left, right, _EXCHANGE)


def _rename(source: Path, target: Path, flags: int) -> None:
    old, new = os.fsencode(source), os.fsencode(target)
    _call("renameat2", _AT_FDCWD, ctypes.c_char_p(old), _AT_FDCWD, ctypes.c_char_p(new), ctypes.c_uint(flags))


def allocate(descriptor: int, nbytes: int) -> None:
    """Reserves the blocks of a file; fails at once where the disk is too full.

    The C library's own `posix_fallocate` would write every block where the file system
    cannot reserve, so the system is asked directly.
    """
    _call("fallocate", descriptor, 0, ctypes.c_int64(0), ctypes.c_int64(nbytes))


def start_writeback(descriptor: int, offset: int, nbytes: int) -> None:
    """Asks the system to begin writing a range to the disk, without waiting."""
    _call("sync_file_range", descriptor, ctypes.c_int64(offset), ctypes.c_int64(nbytes), ctypes.c_uint(_WRITE_OUT))


def clone_file(source: int, target: int) -> None:
    """Lets a file share all its blocks with another one."""
    fcntl.ioctl(target, _FICLONE, source)


def clone_range(source: int, source_offset: int, target: int, target_offset: int, nbytes: int) -> None:
    """Lets a range of a file share its blocks with another one; all numbers in whole blocks."""
    fcntl.ioctl(target, _FICLONERANGE, struct.pack("=qQQQ", source, source_offset, nbytes, target_offset))
