"""`crdtpubsub.metrics` as Prometheus sees it: scraped over HTTP, and parsed by its own parser."""

from __future__ import annotations

import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest

from crdtpubsub import Config, Node, Stats, SyncNode
from tests.api.helpers import message, nodes, story

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
try:
    import crdtpubsub.metrics
except ImportError as error:
    print(error)
"""


def collectors() -> Any:
    """The module, where its extra is installed: in CI it is."""
    pytest.importorskip("prometheus_client")
    return import_module("crdtpubsub.metrics")


@contextmanager
def scraped(*collectors: object) -> Iterator[Any]:
    """A registry behind a real server; what it says, as (name, labels) -> value."""
    exposition = pytest.importorskip("prometheus_client.exposition")
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415
    from prometheus_client.registry import CollectorRegistry  # noqa: PLC0415

    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    server, thread = exposition.start_http_server(0, addr="127.0.0.1", registry=registry)

    def scrape() -> Samples:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=20) as answer:
            text = answer.read().decode()
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation.endswith(".") for family in families)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }

    try:
        yield scrape
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@story
async def test_a_scrape_over_http_says_what_the_node_counts() -> None:
    metrics = collectors()
    async with nodes(2) as (a, b):
        ann = a.client("zoe7")
        await ann.join("lobby42", wait="all", timeout=20)
        await b.publish("lobby42", b"x" * 100)
        await message(ann)
        with scraped(metrics.NodeCollector(a)) as scrape:
            seen = scrape()
            assert seen["crdtpubsub_running", ()] == 1
            assert seen["crdtpubsub_peers", (("state", "alive"),)] == 1
            assert seen["crdtpubsub_peers", (("state", "down"),)] == 0
            assert seen["crdtpubsub_peers_linked", ()] == 1
            assert seen["crdtpubsub_channels", ()] == 1
            assert seen["crdtpubsub_members", ()] == seen["crdtpubsub_clients", ()] == 1
            assert seen["crdtpubsub_messages_delivered_total", ()] == 1
            assert seen["crdtpubsub_publications_received_total", ()] == 1
            assert seen["crdtpubsub_received_bytes_total", ()] > 100
            labels = {key for _, pairs in seen for key, _ in pairs}
            assert labels == {"counter", "state"}  # nothing that grows with the cluster
            text = " ".join(f"{name}{pairs}" for name, pairs in seen)
            assert not any(word in text for word in ("lobby42", "zoe7", a.id, b.id))
            await a.close()
            assert scrape() == {("crdtpubsub_running", ()): 0}


def test_every_counter_of_a_node_is_exported_once() -> None:
    metrics = collectors()

    class Counts:
        def stats(self) -> Stats:
            return Stats({name: n for n, name in enumerate(names, 1000)}, {}, 0)

    with SyncNode(config=Config()) as node:
        names = sorted({*node.stats().counters, "a_counter_of_tomorrow"})
        known = metrics.COUNTERS.keys() | metrics.GAUGES.keys()
        names = sorted({*names, *known})
        values = [
            sample.value
            for family in metrics.NodeCollector(Counts()).collect()
            for sample in family.samples
        ]
        assert sorted(value for value in values if value >= 1000) == [
            float(n) for n in range(1000, 1000 + len(names))
        ]


def test_scrapes_from_many_threads_beside_a_busy_node() -> None:
    metrics = collectors()
    failed: list[BaseException] = []
    with SyncNode() as node, scraped(metrics.NodeCollector(node)) as scrape:
        ann = node.client("zoe7")

        def look() -> None:
            try:
                for _ in range(5):
                    assert scrape()["crdtpubsub_running", ()] == 1
            except BaseException as error:  # noqa: BLE001
                failed.append(error)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(200):
            ann.join(f"room {n}")
        for thread in threads:
            thread.join()
        assert not failed
        assert scrape()["crdtpubsub_members", ()] == 200


def test_without_the_extra_the_error_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], check=True, capture_output=True, text=True
    )
    assert "pip install 'crdtpubsub[metrics]'" in done.stdout


@story
async def test_stats_are_frozen_and_of_one_moment() -> None:
    async with Node() as node:
        ann = node.client("zoe7")
        await ann.join("lobby42")
        stats = node.stats()
        assert (stats.channels, stats.members, stats.clients, stats.linked) == (1, 1, 1, 0)
        for mapping in (stats.counters, stats.peers):
            with pytest.raises(TypeError):
                mapping["frames"] = 1  # type: ignore[index]
        with pytest.raises(AttributeError):
            stats.channels = 2  # type: ignore[misc]
        await ann.leave("lobby42")
        assert (stats.channels, node.stats().channels) == (1, 0)
