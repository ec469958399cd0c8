"""A node from its environment; what is wrong there is named."""

from __future__ import annotations

import pytest

from crdtpubsub import ConfigError, Node
from tests.api.helpers import story, until

SECRET = "s" * 32


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("BIND", "nonsense", "tcp://host:port"),
        ("SEEDS", "tcp://127.0.0.1:7400,dns://x", "dns://name:port"),
        ("ADVERTISE", "here", "as others dial it"),
        ("NAME", "tab\t", "cannot be a"),
        ("CLUSTER", "x" * 256, "cannot be a"),
        ("SECRET", "short", "at least 16"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(
    variable: str, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CRDTPUBSUB_{variable}", text)
    with pytest.raises(ConfigError, match=f"^CRDTPUBSUB_{variable}: .*{says}"):
        Node.from_env()


def test_what_is_missing_beside_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDTPUBSUB_BIND", "tcp://0.0.0.0:7400")
    with pytest.raises(ConfigError, match=r"secret=.*CRDTPUBSUB_BIND"):
        Node.from_env()
    monkeypatch.setenv("CRDTPUBSUB_SECRET", SECRET)
    with pytest.raises(ConfigError, match=r"advertise=.*CRDTPUBSUB_BIND, CRDTPUBSUB_SECRET"):
        Node.from_env()


@pytest.mark.net
def test_nodes_from_the_environment_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    @story
    async def meet() -> None:
        monkeypatch.setenv("CRDTPUBSUB_BIND", "tcp://127.0.0.1:*")
        monkeypatch.setenv("CRDTPUBSUB_SECRET", f"{SECRET}, {'t' * 32}")
        monkeypatch.setenv("CRDTPUBSUB_NAME", "first")
        async with Node.from_env() as first:
            assert first.name == "first"
            monkeypatch.setenv("CRDTPUBSUB_SEEDS", f"{first.endpoint}, dns://localhost:1")
            async with Node.from_env(name="second", secret=SECRET) as second:
                await until(lambda: [p.name for p in second.peers() if p.linked] == ["first"])

    meet()


def test_what_is_overridden_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRDTPUBSUB_SEEDS", "nonsense")
    assert Node.from_env(seeds=[], name="n").name == "n"
