"""Staging: what is written stands beside its target under another name until it is whole.

A stage is locked while it is being built. A run that finds a locked stage for its target
gives way; one that finds an unlocked stage clears away what a killed run left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from tiecli.checkpoints import system
from tiecli.checkpoints.copying import is_unsupported
from tiecli.errors import TargetExistsError, TargetLockedError, WriteFailedError

_TOKEN = re.compile(r"\.tiecli-[0-9a-f]{8}$")
_PATIENCE = 5.0
_HINTS = {
    errno.ENOSPC: "Free some space, or choose a target on another disk.",
    errno.EDQUOT: "Your quota on this disk is used up; choose a target on another disk.",
    errno.EACCES: "Choose a target in a directory where you may write.",
    errno.EPERM: "Choose a target in a directory where you may write.",
    errno.EROFS: "The file system is read-only; choose a target elsewhere.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOENT: "Create the directory first, with `mkdir -p`.",
    errno.ENOTDIR: "A file stands where a directory should be; check the path.",
    errno.EFBIG: "The file system or `ulimit -f` does not allow files of this size.",
}


def is_stage(name: str) -> bool:
    """Whether a name is one that a stage bears."""
    return name.startswith(".") and _TOKEN.search(name) is not None


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns what the system refuses inside into an error that names the target.

    Raises:
        WriteFailedError: The system refused; the hint says what may help.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = _HINTS.get(error.errno or 0, "See the system's log; the disk or the network behind it may be at fault.")
        raise WriteFailedError(f"`{target}` cannot be written: {reason}", hint) from error


def refuse_existing(target: Path) -> None:
    """Refuses a target where anything stands already, be it a broken link.

    Raises:
        TargetExistsError: Something does.
    """
    if os.path.lexists(target):
        raise TargetExistsError(
            f"`{target}` exists already", "Choose another name, or remove it first; tiecli never replaces a target."
        )


class Stage:
    """A file or directory being built beside its target.

    Attributes:
        target: What it will become.
        path: Where it stands until then.
        descriptor: Of a file open for writing; of a directory, for its lock.
    """

    def __init__(self, target: Path, *, directory: bool) -> None:
        """Clears stages of dead runs away, and starts one that nobody else has.

        Raises:
            TargetLockedError: Another run is writing to the same target.
            OSError: The system refused.
        """
        self.target = target
        self.directory = directory
        prefix = _prefix(target.name)
        self.path = target.parent / f"{prefix}{secrets.token_hex(4)}"
        parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Held for a moment only, so that of two runs one sees the other.
            _lock_patiently(parent, target)
            for path in target.parent.iterdir():
                if path.name.startswith(prefix) and is_stage(path.name):
                    _clear_dead(path, target)
            self.descriptor = self._start()
        finally:
            os.close(parent)

    def _start(self) -> int:
        if self.directory:
            self.path.mkdir(mode=0o700)
        flags = os.O_RDONLY | os.O_DIRECTORY if self.directory else os.O_RDWR | os.O_CREAT | os.O_EXCL
        try:
            descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
            try:
                _lock(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except BaseException:
            _remove(self.path)
            raise
        return descriptor

    def publish(self, *, sync: bool) -> None:
        """Gives the stage its target's name, if nothing has that name.

        Raises:
            TargetExistsError: Something has it by now.
            OSError: The system refused.
        """
        try:
            try:
                system.rename_new(self.path, self.target)
            except OSError as error:
                if self.directory or not is_unsupported(error):
                    raise
                os.link(self.path, self.target)
                self.path.unlink()
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                refuse_existing(self.target)
            raise
        self._finish(sync=sync)

    def replace(self, *, sync: bool) -> None:
        """Puts the staged file in its target's place."""
        self.path.replace(self.target)
        self._finish(sync=sync)

    def exchange(self, *, sync: bool) -> None:
        """Swaps the staged directory with its target; the old one then stands at `path`."""
        system.exchange(self.path, self.target)
        self._finish(sync=sync)

    def _finish(self, *, sync: bool) -> None:
        if sync:
            sync_directory(self.target.parent)

    def discard(self) -> None:
        """Removes whatever stands at the stage's own name, and gives up the lock."""
        if self.descriptor >= 0:
            _remove(self.path)
            os.close(self.descriptor)
            self.descriptor = -1


def sync_directory(path: Path) -> None:
    """Waits until the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def _prefix(name: str) -> str:
    if len(os.fsencode(name)) > 200:
        name = f"{name[:40]}-{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}"
    return f".{name}.tiecli-"


def _lock(descriptor: int) -> bool:
    """Tries to lock; where the file system knows no locks, nobody else has one either."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.ENOLCK and not is_unsupported(error):
            raise
    return True


def _lock_patiently(descriptor: int, target: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _lock(descriptor):
        if time.monotonic() > deadline:
            raise TargetLockedError(
                f"the directory of `{target}` is locked by another program", "Wait until it is done, or see `lslocks`."
            )
        time.sleep(0.01)


def _clear_dead(path: Path, target: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        # Gone meanwhile, or not ours to read: then it is not ours to remove.
        return
    try:
        if not _lock(descriptor):
            raise TargetLockedError(
                f"another tiecli is writing to `{target}`", "Wait until it is done, or choose another target."
            )
        _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Removes a file or a tree, as far as it lets itself be removed."""
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        for directory, _, _ in os.walk(path):
            # A copied directory may forbid writing, to its owner too.
            with contextlib.suppress(OSError):
                Path(directory).chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
