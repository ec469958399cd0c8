"""How the nodes of one user on one host find each other: a directory nobody else can enter.

    $XDG_RUNTIME_DIR/crdtpubsub  or  /tmp/crdtpubsub-<uid>      0700, ours
        <hash of the cluster's name>/                           0700, ours
            <random>.sock                                       where a node listens
            <random>.sock.lock                                  held (flock) as long as it lives

A node listens first and looks around then, so of two that start at the same time one at least
sees the other; the other hears of it by its HELLO. A lock that can be taken belongs to a process
that is gone, however it ended: who finds it removes its files. Files are only a hint whom to dial:
what is wrong here costs a dial, and is looked at again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

from crdtpubsub.errors import ConfigError

__all__ = ["PATH_BYTES_MAX", "Rendezvous"]

PATH_BYTES_MAX: Final = 107
"""Of the path of a unix socket on Linux; `transport/base.py:is_endpoint` says the same."""

LOCK_SUFFIX: Final = ".lock"
"""As `transport/ipc.py:PathLock` has it."""

ORPHAN_AFTER_S: Final = 60.0
"""A lock without a socket: its node is about to listen, or died on the way there."""

_SHARED_TMP: Final = "/tmp"  # noqa: S108 - not TMPDIR, which may differ from shell to shell


class Rendezvous:
    """One node's place among those of its user and its cluster. Blocks for file access only."""

    def __init__(self, cluster: str) -> None:
        """Choose a place; nothing is touched before `prepare`.

        Raises:
            ConfigError: the path would be too long for a unix socket.
        """
        self.base = _base(os.environ)
        self._directory = self.base / blake2b(cluster.encode(), digest_size=8).hexdigest()
        self._path = self._directory / f"{os.urandom(6).hex()}.sock"
        if len(os.fsencode(self._path)) > PATH_BYTES_MAX:
            raise ConfigError(
                f"Node() without bind listens at {self._path}, which is longer than the "
                f"{PATH_BYTES_MAX} bytes of a unix socket; set XDG_RUNTIME_DIR to a shorter "
                "directory of yours, the same for all nodes, or pass bind='tcp://127.0.0.1:*'"
            )

    @property
    def endpoint(self) -> str:
        """Where this node listens."""
        return f"ipc://{self._path}"

    def prepare(self) -> None:
        """Make the directories, if they are not there, and see that they are ours alone.

        Raises:
            ConfigError: they are not, or cannot be made; the message says what to do.
        """
        _check_parent(self.base.parent)
        _own(self.base)
        _own(self._directory)

    def others(self) -> tuple[str, ...]:
        """Where the others listen, sorted. Files of those that are gone are removed."""
        found = []
        try:
            names = sorted(path.name for path in self._directory.iterdir())
        except OSError:
            return ()
        there = set(names)
        for name in names:
            path = self._directory / name
            if name.endswith(".sock") and path != self._path:
                if _lives(path):
                    found.append(f"ipc://{path}")
            elif name.endswith(LOCK_SUFFIX) and name.removesuffix(LOCK_SUFFIX) not in there:
                _remove_orphan(path)
        return tuple(found)

    def leave(self) -> None:
        """This node listens no more: the last one takes the directory along."""
        with contextlib.suppress(OSError):
            self._directory.rmdir()


def _base(environ: Mapping[str, str]) -> Path:
    """The runtime directory of a login session, if it is one of ours; else one in /tmp."""
    given = environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/"):
        with contextlib.suppress(OSError):
            found = Path(given).stat()
            # After `su` it may be another user's: that one is no place for us.
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                return Path(given, "crdtpubsub")
    return Path(_SHARED_TMP, f"crdtpubsub-{os.geteuid()}")


def _check_parent(parent: Path) -> None:
    """Where anybody may rename our directory away, checking it is worth nothing."""
    try:
        found = parent.stat()
    except OSError as error:
        raise ConfigError(_complaint(parent, error.strerror or str(error))) from error
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others_write and not found.st_mode & stat.S_ISVTX:
        raise ConfigError(_complaint(parent, "others may rename what is in it (no sticky bit)"))
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(_complaint(parent, f"it belongs to user {found.st_uid}"))


def _own(directory: Path) -> None:
    """Make it, or see that it is a directory, no link to one, of this user and for no other."""
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
    except OSError as error:
        raise ConfigError(_complaint(directory, error.strerror or str(error))) from error
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError(_complaint(directory, "it is a symbolic link"))
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(_complaint(directory, "it is no directory"))
    if found.st_uid != os.geteuid():
        raise ConfigError(
            _complaint(directory, f"it belongs to user {found.st_uid}, not to {os.geteuid()}")
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            _complaint(directory, f"others may enter it; `chmod 700 {directory}` closes it")
        )


def _complaint(path: Path, why: str) -> str:
    return (
        f"Node() without bind meets the other nodes of this user in {path}, which cannot be used: "
        f"{why}; set XDG_RUNTIME_DIR to a directory of yours, the same for all nodes, or pass "
        "bind='tcp://127.0.0.1:*' and seeds"
    )


def _lives(path: Path) -> bool:
    """Whether the node that listens there lives; if not, nothing of it is left behind."""
    lock = Path(f"{path}{LOCK_SUFFIX}")
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # removed by somebody who cleans up: the socket knows
        if _answers(path):
            return True
        _unlink(path)
        return False
    except OSError:  # no open files left, say: no reason to take anybody for dead
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), lock.stat()):  # else it was made anew meanwhile
            _unlink(path)
            _unlink(lock)
            return False
    except OSError:  # held
        pass
    finally:
        os.close(fd)
    return True


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) not in (errno.ECONNREFUSED, errno.ENOENT)


def _remove_orphan(lock: Path) -> None:
    try:
        if time.time() - lock.stat().st_mtime < ORPHAN_AFTER_S:
            return
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.unlink()
    finally:
        os.close(fd)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
