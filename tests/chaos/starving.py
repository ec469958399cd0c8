"""A share of one core for one process, by a control group of its own: version 1 or 2, as root."""

from __future__ import annotations

import contextlib
import os
from itertools import count
from pathlib import Path
from typing import Final, Self

__all__ = ["CpuLimit", "missing"]

PERIOD_US: Final = 100_000
BASE: Final = Path("/sys/fs/cgroup")

_serial = count()


def _unified() -> bool:
    return (BASE / "cgroup.controllers").exists()


def _root() -> Path:
    """Where groups with a quota are made."""
    if _unified():
        return BASE
    return next((p for name in ("cpu", "cpu,cpuacct") if (p := BASE / name).is_dir()), BASE)


def missing() -> str | None:
    """Why no process can be limited here; None if it can."""
    root = _root()
    try:
        if _unified():
            given = (root / "cgroup.subtree_control").read_text().split()
            if "cpu" not in given:
                return "the cpu controller is not handed down (cgroup.subtree_control)"
        elif not (root / "cpu.cfs_quota_us").exists() and not (root / "cpu.shares").exists():
            return "there is no cpu controller"
        with CpuLimit(None, 0.5):
            return None
    except OSError as error:
        return f"no control group can be made: {error}"


class CpuLimit:
    """While it is entered, all threads of the process together get `share` of one core."""

    def __init__(self, pid: int | None, share: float) -> None:
        self._pid = pid
        self._quota_us = round(share * PERIOD_US)
        self._group = _root() / f"crdtpubsub-tests-{os.getpid()}-{next(_serial)}"
        self._before = _root()

    def __enter__(self) -> Self:
        self._group.mkdir()
        try:
            if _unified():
                (self._group / "cpu.max").write_text(f"{self._quota_us} {PERIOD_US}")
            else:
                (self._group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (self._group / "cpu.cfs_quota_us").write_text(str(self._quota_us))
            if self._pid is not None:
                self._before = _group_of(self._pid)
                (self._group / "cgroup.procs").write_text(str(self._pid))
        except BaseException:
            self._group.rmdir()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile
                (self._before / "cgroup.procs").write_text(str(self._pid))
        self._group.rmdir()

    def throttled(self) -> int:
        """In how many periods it wanted more than it got."""
        lines = (self._group / "cpu.stat").read_text().splitlines()
        return int(dict(line.split() for line in lines)["nr_throttled"])


def _group_of(pid: int) -> Path:
    """The group that the process is in now."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        if (controllers == "") if _unified() else ("cpu" in controllers.split(",")):
            return _root() / path.lstrip("/")
    return _root()
