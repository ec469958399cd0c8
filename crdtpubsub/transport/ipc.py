"""Who listens at an ipc path: ZeroMQ lets a second bind steal it without an error."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from crdtpubsub.errors import BindError

__all__ = ["PathLock", "path_of"]


def path_of(endpoint: str) -> str | None:
    """The file an ipc endpoint lives at; abstract names (`ipc://@name`) have none."""
    path = endpoint.removeprefix("ipc://")
    return None if path == endpoint or path[:1] in ("@", "*", "") else path


class PathLock:
    """Holds `path.lock`: ZeroMQ lets a second bind steal the path of the first, without error."""

    def __init__(self, endpoint: str, path: str) -> None:
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
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._fd), self._path.stat()):
                    return
            os.close(self._fd)  # its holder let go and removed it between our two steps

    def release(self, *, bound: bool) -> None:
        """Remove what is ours while the lock is held, so that nobody locks a nameless file."""
        for path in (self._socket_path, self._path) if bound else (self._path,):
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(self._fd)
