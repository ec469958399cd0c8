"""What all tests share: how hard hypothesis tries, what is a soak, and who may use the cores.

Profiles, chosen by HYPOTHESIS_PROFILE (CI=true alone means ci):

    dev   new examples every run, failures remembered in .hypothesis
    ci    the same examples every run, so that a red build is red because of the change
    soak  many examples, long histories, no time limit, and the tests marked soak
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from typing import Final

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

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs with `&` deaf to Ctrl-C, and all its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


WAITING: Final = ("tests/chaos/", "test_rotation.py", "test_secret.py", "test_lives.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave soaks out unless asked for; tests on real processes take turns in two workers.

    One for those that mostly wait (for a cut to be noticed, for a handshake to give up), one for
    the rest. First, so that the third worker has the pure ones to do meanwhile.
    """
    if PROFILE != "soak" and "soak" not in config.option.markexpr:
        soaks = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
        if soaks:
            config.hook.pytest_deselected(items=soaks)
    items.sort(key=_is_net, reverse=True)  # stable: otherwise the order stays
    for item in items:
        if _is_net(item):
            waits = any(room in item.nodeid for room in WAITING)
            item.add_marker(pytest.mark.xdist_group("net, waiting" if waits else "net"))


def _is_net(item: pytest.Item) -> bool:
    return item.get_closest_marker("net") is not None


@pytest.fixture(autouse=True)
def _world_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`Node()` finds every other one of its user on this host: those of other tests, too."""
    with tempfile.TemporaryDirectory(prefix="rt-") as directory:  # short: ipc paths are limited
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield
