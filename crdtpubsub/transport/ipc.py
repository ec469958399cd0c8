"""Who listens at an ipc path: ZeroMQ lets a second bind steal it without an error."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from collections.abc import Callable
from pathlib import Path

import zmq

from crdtpubsub.errors import BindError

__all__ = ["PathLock", "path_of"]


def path_of(endpoint: str) -> str | None:
    """The file an ipc endpoint lives at; abstract names (`ipc://@name`) have none."""
    path = endpoint.removeprefix("ipc://")
    return None if path == endpoint or path[:1] in ("@", "*", "") else path


class PathLock:
    """Holds `path.lock`: ZeroMQ lets a second bind steal the path of the first, without error."""

    def __init__(self, endpoint: str, path: str) -> None:
        self.endpoint = endpoint
        self._socket_path = Path(path)
        self._path = Path(path + ".lock")
        while True:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                reason = error.strerror or str(error)
                raise BindError(endpoint=endpoint, reason=reason) from error
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._fd)
                raise BindError(endpoint=endpoint, reason=f"{self._path} is held") from error
            if self._is_mine():
                _held.add(self)
                return
            os.close(self._fd)  # its holder let go and removed it between our two steps

    def restore(self, bind: Callable[[], object]) -> PathLock | None:
        """The lock to hold from now on, if files were deleted and are there again; else None.

        `bind` puts the socket at the path. The old listener stays, nameless: to unbind it would
        break the links that it accepted.

        Raises:
            BindError: they cannot be made. This lock holds what it held.
        """
        mine = self._is_mine()
        if mine and self._socket_path.exists():
            with contextlib.suppress(OSError):
                os.utime(self._fd)  # in use: who cleans up /tmp goes by the age
            return None
        lock = self if mine else PathLock(self.endpoint, str(self._socket_path))
        try:
            if not self._socket_path.exists():
                bind()
        except zmq.ZMQError as error:
            if lock is not self:
                lock.release(bound=False)
            raise BindError(endpoint=self.endpoint, reason=error.strerror) from error
        if lock is not self:
            self.let_go()
        return lock

    def _is_mine(self) -> bool:
        """Whether the file of that name is the one that is held."""
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    def let_go(self) -> None:
        """Close it without removing anything."""
        _held.discard(self)
        os.close(self._fd)

    def release(self, *, bound: bool) -> None:
        """Remove what is ours while the lock is held, so that nobody locks a nameless file."""
        for path in (self._socket_path, self._path) if bound else (self._path,):
            with contextlib.suppress(OSError):
                path.unlink()
        self.let_go()


_held: weakref.WeakSet[PathLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    while _held:  # or it would be held when the parent is gone
        _held.pop().let_go()  # once: the number may be another file's later


os.register_at_fork(after_in_child=_let_go_in_child)
