"""What all tests share: how hard hypothesis tries, what is a soak, and who may use the cores.

Profiles, chosen by HYPOTHESIS_PROFILE (CI=true alone means ci):

    dev   new examples every run, failures remembered in .hypothesis
    ci    the same examples every run, so that a red build is red because of the change
    soak  many examples, long histories, no time limit, and the tests marked soak
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, Final

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: how long one example takes is a fact about the machine, not about the code.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile(
    "soak",
    deadline=None,
    max_examples=10_000,
    stateful_step_count=200,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)

PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE") or (
    "ci" if os.environ.get("CI") == "true" else "dev"
)
settings.load_profile(PROFILE)
if PROFILE == "soak":
    os.environ.setdefault("PYTEST_TIMEOUT", "0")

TURNS: Final = pytest.StashKey[IO[bytes]]()
"""The lock file of one run: its xdist workers share it, other runs have their own."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave soaks out unless asked for, and put the tests on real sockets last."""
    if PROFILE != "soak" and "soak" not in config.option.markexpr:
        soaks = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
        if soaks:
            config.hook.pytest_deselected(items=soaks)
    items.sort(key=_is_net)  # stable: otherwise the order stays


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Under xdist a `net` test has the machine to itself: its processes need the cores.

    Outermost, so that waiting for a turn does not count against the test's time limit.
    """
    turns = item.config.stash.get(TURNS, None)
    if turns is None:
        return (yield)
    fcntl.flock(turns, fcntl.LOCK_EX if _is_net(item) else fcntl.LOCK_SH)
    try:
        return (yield)
    finally:
        # Said, not left to close(): a child forked by the test holds the file open too.
        fcntl.flock(turns, fcntl.LOCK_UN)


def pytest_configure(config: pytest.Config) -> None:
    """Open the lock file: a worker opens the one its controller made."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.stash[TURNS] = Path(workerinput["turns"]).open("rb")  # noqa: SIM115
    elif config.getoption("numprocesses", None):
        config.stash[TURNS] = tempfile.NamedTemporaryFile()  # noqa: SIM115


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the lock file; the controller's is deleted by that."""
    if (turns := config.stash.get(TURNS, None)) is not None:
        turns.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker, before it starts, which lock file is its run's."""
    node.workerinput["turns"] = node.config.stash[TURNS].name


def _is_net(item: pytest.Item) -> bool:
    return item.get_closest_marker("net") is not None
